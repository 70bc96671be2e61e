"""How long a camera that works repeats its picture bit for bit, when nothing moves: H.264 of a static scene.

    python docs/static_scene.py [--frames 320] [--json]

One part of the synthetic line, 1080p at 30 fps, with sensor noise of 0, 0.5 and 3 levels (standard deviation), through
ffmpeg's x264 with a key frame every 150 frames. Where a picture is repeated, the noise was there, but the encoder found
it not worth sending. A limit for frozen pictures must be longer than the longest run. Last line: one JSON object.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from diffad_runtime.sources.capture import Capture
from diffad_runtime.synthetic import LineConfig, SyntheticLine

WIDTH, HEIGHT, FPS, KEY = 1920, 1080, 30, 150


def encode(path: Path, sigma: float, rate: list[str], preset: str, frames: int) -> None:
    """A clip of the same scene with other noise in each frame."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(SyntheticLine(LineConfig(size=1080, seed=1)).frame(0).image, (WIDTH, HEIGHT))
    noise = rng.normal(0, 1, (HEIGHT, WIDTH, 1)).astype(np.float32)
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-", "-c:v", "libx264", "-preset", preset]
    command += ["-tune", "zerolatency", "-bf", "0", "-threads", "1", "-pix_fmt", "yuv420p", "-g", str(KEY), *rate]
    with subprocess.Popen([*command, str(path)], stdin=subprocess.PIPE) as encoder:
        assert encoder.stdin is not None
        for _ in range(frames):
            moved = np.roll(noise, tuple(rng.integers(0, 1000, 2)), (0, 1))
            picture = np.clip(scene + sigma * moved, 0, 255).astype(np.uint8) if sigma else scene
            encoder.stdin.write(picture.tobytes())


def longest_run(path: Path) -> int:
    """Frames in a row that are the one before."""
    capture, before, run, longest = Capture(str(path), cv2.CAP_FFMPEG), None, 0, 0
    while (picture := capture.read()) is not None:
        run = run + 1 if before is not None and np.array_equal(picture, before) else 0
        longest, before = max(longest, run), picture
    capture.release()
    return longest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=320)
    parser.add_argument("--json", action="store_true", help="the last line only")
    arguments = parser.parse_args()
    rates = {
        "qp 26": ["-qp", "26"],
        "qp 34": ["-qp", "34"],
        "4 Mbit/s": ["-b:v", "4M", "-maxrate", "4M", "-bufsize", "4M"],
    }
    runs: dict[str, float] = {}
    if not arguments.json:
        print("noise  rate      preset     longest run of one picture")
    with tempfile.TemporaryDirectory() as folder:
        for sigma in (0.0, 0.5, 3.0):
            for rate, options in rates.items():
                for preset in ("ultrafast", "medium"):
                    clip = Path(folder) / "clip.mp4"
                    encode(clip, sigma, options, preset, arguments.frames)
                    seconds = longest_run(clip) / FPS
                    runs[f"{sigma:g}, {rate}, {preset}"] = round(seconds, 2)
                    if not arguments.json:
                        print(f"{sigma:5g}  {rate:8s}  {preset:9s}  {seconds:6.2f} s")
    noisy = max(seconds for name, seconds in runs.items() if not name.startswith("0,"))
    print(json.dumps({"longest_s_with_noise": noisy, "key_frames_s": KEY / FPS, "runs_s": runs}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
