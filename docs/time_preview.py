"""What the preview page costs a run: 1080p frames, 30 a second, 1 in 10 of them NG.

    OMP_NUM_THREADS=1 python docs/time_preview.py

For nobody, one and three viewers: processor time of the sink's own call, for OK and for NG frames; and that of the
whole process beyond what the same loop takes without a page, per frame. Milliseconds; processor time and not the clock,
so that others on the machine do not count. Viewers are processes of their own, and take pictures as fast as the page
gives them. The last line is JSON.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

import cv2
import numpy as np

from diffad_runtime import DecisionRules, FakeEngine, Frame, Inspector, Result, Verdict
from diffad_runtime.manifest import ImageScore
from diffad_runtime.monitor import Monitor
from diffad_runtime.preview import open_preview
from diffad_runtime.sources import open_source
from diffad_runtime.synthetic import LineConfig, SyntheticLine

FPS, SECONDS = 30, 20.0
RULES = DecisionRules(pixel_threshold=0.75, image_threshold=9.0, image_score=ImageScore(pixels=20))
VIEWER = """
import http.client, json, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
seen, views, size, until = "", 0, 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    connection.request("GET", f"/view?viewer={sys.argv[3]}&seen={seen}")
    body = connection.getresponse().read()
    words = json.loads(body[4 : 4 + int.from_bytes(body[:4], "big")])
    seen, views, size = f"{words['run']}.{words['number']}", views + 1, size + len(body)
print(views, size)
"""


def parts() -> list[tuple[Frame, Result]]:
    """Ten different frames of the line, the last of them NG."""
    line = SyntheticLine(LineConfig(size=1080, seed=1))
    made = []
    with Inspector(FakeEngine(256), RULES) as inspector:
        for number in range(10):
            wide = cv2.copyMakeBorder(line.frame(number).image, 0, 0, 420, 420, cv2.BORDER_REFLECT)
            frame = replace(next(iter(open_source("synthetic://line?fps=0&count=1&size=32"))), image=np.asarray(wide))
            result = inspector.judge(frame)
            made.append((frame, replace(result, verdict=Verdict.NG) if number == 9 else result))
    return made


def paced(made: list[tuple[Frame, Result]], write: Callable[[Frame, Result], None]) -> dict[str, Any]:
    """Milliseconds of processor time: of each call, by verdict, and of the process for each frame."""
    spent: dict[str, list[float]] = {"OK": [], "NG": []}
    start, cpu, number = time.monotonic(), time.process_time(), 0
    while (due := start + number / FPS) < start + SECONDS:
        time.sleep(max(0.0, due - time.monotonic()))
        frame, result = made[number % len(made)]
        frame = replace(frame, t_monotonic=time.monotonic())
        begun = time.thread_time()
        write(frame, result)
        spent[result.verdict.value].append(1e3 * (time.thread_time() - begun))
        number += 1
    return {
        "cpu_ms": 1e3 * (time.process_time() - cpu) / number,
        **{f"write_{name}_ms": median(times) for name, times in spent.items()},
        **{f"write_{name}_p99_ms": float(np.quantile(times, 0.99)) for name, times in spent.items()},
    }


def watched(made: list[tuple[Frame, Result]], viewers: int) -> dict[str, Any]:
    """As `paced`, with a page and so many viewers."""
    with (
        ExitStack() as stack,
        Inspector(FakeEngine(32), RULES) as inspector,
        open_source("synthetic://line") as source,
        open_preview(Monitor(inspector, source).snapshot, "127.0.0.1:0") as preview,
    ):
        port = preview.url.rpartition(":")[2]
        started = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", VIEWER, port, str(SECONDS + 1), f"{number:024x}"],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(viewers)
        ]
        time.sleep(1.0 if viewers else 0.0)
        told = paced(made, preview.sink.write)
        seen = [process.communicate()[0].split() for process in started]
        if seen:
            told["views_per_s"] = float(np.mean([int(views) for views, _ in seen])) / (SECONDS + 1)
            told["kb_per_view"] = float(np.mean([int(size) / int(views) for views, size in seen])) / 1e3
        return told


def main() -> int:
    """Print a table, and JSON."""
    made = parts()
    bare = paced(made, lambda *_: None)
    told = {"viewers": {str(viewers): watched(made, viewers) for viewers in (0, 1, 3)}, "bare": bare}
    for viewers, times in told["viewers"].items():
        times["cpu_beyond_ms"] = times["cpu_ms"] - bare["cpu_ms"]
        line = ", ".join(f"{name} {value:.3f}" for name, value in times.items())
        print(f"{viewers} viewers: {line}")
    print(json.dumps({"frame": "1920x1080", "fps": FPS, **told}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
