"""An engine's memory claimed before the first part, so that a process that lives for months does not grow later.

Knows that an engine takes several frames at once. Does not know how it keeps its memory.

ONNX Runtime's arenas grow when two frames first meet in one session, and never shrink. In a soak that was after a
quarter of an hour, when the machine was busy for a moment: 10 MiB at once (INT8 student, 256 px).
"""

import threading
import time

import numpy as np

from diffad_runtime.engines.base import Engine
from diffad_runtime.errors import EngineError

ROUNDS = 16
_MID_GREY = 128


def claim_memory(engine: Engine, rounds: int = ROUNDS) -> None:
    """Run as many frames at once as the engine takes, a few times, each time shifted by another part of a frame.

    Raises:
        EngineError: it failed.
    """
    if engine.lanes == 1:  # what one frame takes, the golden frames have shown
        return
    image = np.full((engine.input_size, engine.input_size, 3), _MID_GREY, np.uint8)
    together = threading.Barrier(engine.lanes)
    start = time.perf_counter()
    engine.infer(image)
    once = time.perf_counter() - start
    failures: list[EngineError] = []

    def work(lane: int) -> None:
        try:
            for number in range(rounds):
                together.wait()
                time.sleep(once * lane * number / rounds)
                engine.infer(image)
        except EngineError as error:
            failures.append(error)
            together.abort()
        except threading.BrokenBarrierError:  # another one failed
            pass

    threads = [
        threading.Thread(target=work, args=(lane,), name=f"warm up {lane}", daemon=True) for lane in range(engine.lanes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
