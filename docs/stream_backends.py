"""OpenCV against PyAV for network cameras: CPU time of a frame, delay, time to the first frame, pixels.

    python docs/stream_backends.py [--json]

CPU time: a 1080p H.264 clip (6 Mbit/s, made by ffmpeg), decoded and converted to BGR in one thread, best of three.
Delay: from drawing a picture to having it as an array, over RTSP on loopback at 25 fps, 320 x 240, read from a barcode
of the clock in each picture (tests/simulated/rtspsim). Last line: one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "simulated"))

from rtspsim import RtspServer, made_at, why_missing  # noqa: E402

from diffad_runtime.result import Image  # noqa: E402
from diffad_runtime.sources.stream import StreamSource  # noqa: E402

Frames = Iterator[Image]


def make_clip(path: Path) -> None:
    command = [
        "ffmpeg",
        "-y",
        "-loglevel",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=1920x1080:rate=30,noise=alls=4:allf=t",
    ]
    command += ["-frames:v", "150", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0"]
    command += ["-threads", "1", "-pix_fmt", "yuv420p", "-b:v", "6M", "-maxrate", "6M", "-bufsize", "3M", "-g", "30"]
    subprocess.run([*command, str(path)], check=True)


def by_opencv(target: str, threads: int) -> Frames:
    """As OpenCV reads; 0 threads: as many as it likes."""
    settings = [cv2.CAP_PROP_N_THREADS, threads] if threads else []
    capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, settings)
    while True:
        got, image = capture.read()
        if not got:
            capture.release()
            return
        yield image


def by_pyav(target: str) -> Frames:
    """As StreamSource decodes a file, which it does not open itself."""
    import av  # noqa: PLC0415  the extra is optional

    with av.open(target) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for frame in container.decode(stream):
            yield frame.to_ndarray(format="bgr24")


def by_source(uri: str) -> Frames:
    with StreamSource(uri) as source:
        for frame in source:
            yield frame.image


def cpu_ms(frames: Callable[[], Frames]) -> float:
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        count = sum(1 for _ in frames())
        best = min(best, 1e3 * (time.process_time() - start) / count)
    return best


def delay(frames: Frames) -> tuple[float, float]:
    """Seconds to the first frame, and the median delay in ms of 60 frames once those that waited are through."""
    start = time.monotonic()
    first, ages = 0.0, []
    for index, image in enumerate(frames):
        now = time.monotonic()
        first = first or now - start
        if index >= 60:
            ages.append(1e3 * (now - made_at(image, now)))
        if len(ages) == 60:
            break
    return first, median(ages)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="the last line only")
    arguments = parser.parse_args()
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    cv2.setNumThreads(1)
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        make_clip(clip)
        found["cpu_ms"] = {
            "opencv": round(cpu_ms(lambda: by_opencv(str(clip), 1)), 2),
            "pyav": round(cpu_ms(lambda: by_pyav(str(clip))), 2),
        }
        pairs = zip(by_opencv(str(clip), 1), by_pyav(str(clip)), strict=True)
        found["same_pixels"] = all(np.array_equal(one, two) for one, two in pairs)
    if why := why_missing():
        found["skipped"] = why
    else:
        with RtspServer() as server:
            ways = {
                "opencv, 6 threads": lambda: by_opencv(server.uri, 6),
                "opencv, 1 thread": lambda: by_opencv(server.uri, 1),
                "pyav": lambda: by_source(server.uri),
            }
            measured = {name: delay(way()) for name, way in ways.items()}
        found["first_s"] = {name: round(first, 2) for name, (first, _) in measured.items()}
        found["delay_ms"] = {name: round(late) for name, (_, late) in measured.items()}
    if not arguments.json:
        for name, value in found.items():
            print(f"{name:12s} {value}")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
