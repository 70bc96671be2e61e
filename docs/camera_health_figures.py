"""What the watch over the camera's picture finds, how soon, how often it is wrong, and what it costs:

    python docs/camera_health_figures.py [--parts 250] [--size 512] [--line plate] [--seed 0]

Parts of the synthetic line, one in ten defective, the lamp drifting as it does there. The first 50 make the reference;
the others are looked at one after the other, as once a second on a line. Lines: "plate" and "disc" lie nearly the same
(4 degrees and 1.2 % of the side either way), "free" lies at any angle and up to 5 % off. Faults are planted from one
picture on: blur in front of the sensor, whose noise is added again; light, tint and place; soft dark spots, of three
sizes and depths, at one place. Columns: looks until the fault was named, and of 60 pictures how many were called so.

`shift`: what three ways of correlating say of pictures moved by 5 and 10 % of the side, in pixels of the small picture.
`sharpness`: the same for blur, beside the variance of the Laplacian: share of its value without blur, and the spread
between parts. `cost`: CPU time of a look at a frame of 1920 x 1080, and for each frame at 30 a second. The last line is
JSON.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import cv2
import numpy as np

from diffad_runtime.health.camera import CameraHealth
from diffad_runtime.health.picture import look, small_size
from diffad_runtime.health.reference import Reference, learn
from diffad_runtime.health.shift import Shift
from diffad_runtime.result import Frame, Image, Verdict
from diffad_runtime.synthetic import LineConfig, SyntheticLine

LINES: dict[str, dict[str, Any]] = {
    "plate": {},
    "disc": {"part": "disc"},
    "free": {"rotate": 180.0, "shift": 0.05},
}
NOISE = 1.8  # grey levels, about what the synthetic sensor has
UTC = datetime.now(timezone.utc)


def show(camera: CameraHealth, images: list[Image], begin: float = 0.0) -> list[tuple[str, ...]]:
    """What is said after each picture."""
    said = []
    for number, image in enumerate(images):
        camera.look(Frame(image, number, begin + 1.5 * number, UTC), Verdict.NG)
        said.append(camera.faults())
    return said


def noisy(image: np.ndarray, rng: np.random.Generator) -> Image:
    return np.clip(image + rng.normal(0, NOISE, image.shape) + 0.5, 0, 255).astype(np.uint8)


def spotted(image: Image, radius: float, depth: float) -> Image:
    side = image.shape[0]
    y, x = np.mgrid[:side, :side]
    spot = np.exp(-((x - 0.3 * side) ** 2 + (y - 0.64 * side) ** 2) / (2 * (radius * side) ** 2))
    return np.clip(image * (1 - depth * spot)[..., None], 0, 255).astype(np.uint8)


def planted(rng: np.random.Generator) -> dict[str, tuple[str, Callable[[Image], Image]]]:
    """{what: (the kind of fault it is, how a picture gets it)}."""
    faults: dict[str, tuple[str, Callable[[Image], Image]]] = {}
    for sigma in (0.002, 0.003, 0.004, 0.006):
        faults[f"blur, sigma {sigma:.1%} of the side"] = (
            "picture blurred",
            lambda image, sigma=sigma: noisy(cv2.GaussianBlur(image, (0, 0), sigma * len(image)).astype(float), rng),
        )
    for gain in (0.6, 0.75, 0.85, 1.15, 1.3):
        faults[f"light x {gain}"] = (
            "picture dark" if gain < 1 else "picture bright",
            lambda image, gain=gain: np.clip(image * gain, 0, 255).astype(np.uint8),
        )
    faults["red x 1.2"] = (
        "colours changed",
        lambda image: np.clip(image * np.array([1, 1, 1.2]), 0, 255).astype(np.uint8),
    )
    for share in (0.02, 0.03, 0.05, 0.1):
        faults[f"moved by {share:.0%} of the side"] = (
            "picture shifted",
            lambda image, share=share: np.roll(image, round(share * len(image)), 1),
        )
    faults["lens cap"] = ("picture dark", lambda image: noisy(np.full(image.shape, 4.0), rng))
    for radius in (0.006, 0.012, 0.024):
        for depth in (0.2, 0.4, 0.7):
            faults[f"spot, radius {radius:.1%}, {depth:.0%} darker"] = (
                "dirt",
                lambda image, radius=radius, depth=depth: spotted(image, radius, depth),
            )
    return faults


def detection(images: list[Image], reference: Reference, rng: np.random.Generator) -> dict[str, Any]:
    rest = images[50:]
    said = show(CameraHealth(reference), rest)
    wrong = sum(bool(each) for each in said)
    print(f"  nothing planted: {wrong} of {len(said)} looks with a fault")
    found: dict[str, Any] = {"false": wrong, "looks": len(said)}
    for what, (kind, plant) in planted(rng).items():
        camera = CameraHealth(reference)
        show(camera, rest[:30])
        named = [
            any(kind in line for line in each) for each in show(camera, [plant(each) for each in rest[30:90]], 1e4)
        ]
        first = named.index(True) + 1 if any(named) else None
        print(f"  {what:38} {first or 'not':>4} {sum(named):4} of {len(named)}")
        found[what] = {"after": first, "of_60": sum(named)}
    return found


def correlation(images: list[Image]) -> dict[str, Any]:
    size = small_size(*images[0].shape[:2])
    small = [look(image, size).small for image in images[:110]]
    mean = np.mean(small[:50], axis=0).astype(np.float32)
    found: dict[str, Any] = {}
    for name, power in (("plain", 0.0), ("square root", 0.5), ("phase alone", 1.0)):
        shift = Shift(mean, power)
        for share in (0.05, 0.1):
            by = round(share * len(images[0]))
            moved = [shift.of(look(np.roll(image, by, 1), size).small)[0] for image in images[50:110]]
            true = by * size[1] / len(images[0])
            found[f"{name}, {share:.0%}"] = {
                "true": true,
                "median": float(np.median(moved)),
                "std": float(np.std(moved)),
            }
            print(f"  {name:12} moved by {true:5.2f}: median {np.median(moved):6.2f}, deviation {np.std(moved):5.2f}")
    return found


def sharpness(images: list[Image], rng: np.random.Generator) -> dict[str, Any]:
    def laplacian(image: Image) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.CV_32F).var())

    measures: dict[str, Callable[[Image], float]] = {
        "steepest edges": lambda image: look(image, small_size(*image.shape[:2])).sharpness,
        "variance of the Laplacian": laplacian,
    }
    found: dict[str, Any] = {}
    for name, measure in measures.items():
        whole = np.array([measure(image) for image in images[:60]])
        shares = {}
        for sigma in (0.002, 0.004, 0.008, 0.016):
            soft = [cv2.GaussianBlur(image, (0, 0), sigma * len(image)).astype(float) for image in images[:60]]
            values = [measure(noisy(image, rng)) for image in soft]
            shares[f"{sigma:.1%}"] = float(np.median(values) / np.median(whole))
        spread = float(whole.std() / whole.mean())
        listed = ", ".join(f"{sigma}: {share:.2f}" for sigma, share in shares.items())
        print(f"  {name:26} spread {spread:.3f}, left at a blur of {listed}")
        found[name] = {"spread": spread, **shares}
    return found


def cost(images: list[Image]) -> dict[str, float]:
    large = [np.asarray(cv2.resize(image, (1920, 1080), interpolation=cv2.INTER_CUBIC)) for image in images[:12]]
    camera = CameraHealth(learn(large))
    show(camera, large)
    times = []
    for number in range(60):
        begun = time.thread_time()
        camera.look(Frame(large[number % 12], 0, 1e6 + 2 * number, UTC), Verdict.OK)
        times.append(1e3 * (time.thread_time() - begun))
    begun = time.thread_time()
    for number in range(10_000):
        camera.look(Frame(large[0], 0, 1e6 + 118 + 1e-7 * number, UTC), Verdict.OK)
    passed_by = 1e3 * (time.thread_time() - begun) / 10_000
    looked = float(np.median(times))
    per_frame = looked / 30 + passed_by
    print(
        f"  a look at 1920 x 1080: {looked:.2f} ms, other frames {1e3 * passed_by:.1f} us, "
        f"at 30 frames a second {per_frame:.3f} ms a frame"
    )
    return {"look_ms": looked, "per_frame_ms": per_frame}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=250)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--line", choices=list(LINES), action="append")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    found: dict[str, Any] = {}
    for name in options.line or LINES:
        line = SyntheticLine(LineConfig(size=options.size, seed=options.seed, defects=0.1, **LINES[name]))
        images = [line.frame(number).image for number in range(options.parts)]
        rng = np.random.default_rng(options.seed)
        print(f"{name}, {options.size} px, {options.parts} parts")
        found[name] = {"faults": detection(images, learn(images[:50]), rng), "shift": correlation(images)}
        found[name]["sharpness"] = sharpness(images, rng)
        found[name]["cost"] = cost(images)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
