"""A process that opens bundles with onnxruntime and may die of it; and the side that starts it and says of what.

Knows signals, limits and time. Does not know graphs. Native code cannot be caught in the process that runs it.
"""

import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ENGINE_S = 20.0
ADDRESSES_MB = 6000
"""Of memory that the child may ask for; what asks for more is refused by the kernel."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a bundle.

    Attributes:
        how: "accepted", "refused", "traceback", "crash", "hang".
        what: the message, the signal, or the error.
        peak_mb: resident memory above that of a child that has opened a good bundle.
        seconds: of waiting.
    """

    how: str
    what: str
    peak_mb: float
    seconds: float


class EngineChild:
    """Started when needed, and again when it died. Close it."""

    def __init__(self, good: bytes) -> None:
        self._good = good
        self._child: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory()
        self.started = 0

    def run(self, data: bytes) -> Ended:
        """Open a bundle there, and judge one frame."""
        if self._child is None:
            self._start()
        start = time.monotonic()
        answer = self._ask(data)
        seconds = time.monotonic() - start
        if isinstance(answer, dict):
            return Ended(answer["how"], answer["what"], answer["peak_mb"], seconds)
        return Ended(
            "hang" if answer is None else "crash", answer or f"no answer in {ENGINE_S:g} s", float("nan"), seconds
        )

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None
        self._folder.cleanup()

    def _start(self) -> None:
        package = str(Path(__file__).resolve().parents[1])
        self._child = subprocess.Popen(
            [sys.executable, "-m", "bundlefuzz.enginechild", self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._folder.name,
            env={
                **os.environ,
                "PYTHONPATH": f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                "OMP_NUM_THREADS": "1",
            },
        )
        self.started += 1
        answer = self._ask(self._good, wait=120)
        if not isinstance(answer, dict) or answer["how"] != "accepted":
            raise RuntimeError(f"the child does not take the good bundle: {answer}")

    def _ask(self, data: bytes, wait: float = ENGINE_S) -> "dict[str, object] | str | None":
        """Its answer; a signal's name where it died; None where it had to be killed."""
        child = self._child
        assert child is not None
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(struct.pack(">I", len(data)) + data)
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], wait)
            line = child.stdout.readline() if ready else None
        except BrokenPipeError:
            line = b""
        if line:
            return dict(json.loads(line))
        if line is None:
            child.kill()
        child.communicate()
        self._child = None
        code = child.returncode
        return None if line is None else signal.Signals(-code).name if code < 0 else f"exit code {code}"


def serve(folder: Path) -> None:
    """The child's side: a length and a bundle in, a line out, until the input ends."""
    # Late: the parent needs none of it.
    import numpy as np

    from bundlefuzz.watch import Watch
    from diffad_runtime import Inspector

    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what native code prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_MB << 20, ADDRESSES_MB << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    path = folder / "m.diffad"
    watch = Watch(folder)
    first = True
    frame = np.full((40, 40, 3), 90, np.uint8)

    def work() -> None:
        with Inspector.open(path, "onnxruntime", threads=1) as inspector:
            inspector.inspect(frame)

    while len(head := sys.stdin.buffer.read(4)) == 4:
        path.write_bytes(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))
        seen = watch.run(work)
        if first:  # imports what it needs, and looks at the machine
            watch.settle()
            seen.faults, first = [], False
        how = "traceback" if seen.faults else "accepted" if seen.layer == "accepted" else "refused"
        what = "; ".join(seen.faults) or f"{seen.layer}: {seen.message}"
        out.write(json.dumps({"how": how, "what": what[:400], "peak_mb": seen.peak_mb}).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
