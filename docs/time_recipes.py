"""What recipes cost beside inference, on 1080p frames and a network of 256 pixels that answers at once.

    OMP_NUM_THREADS=1 python docs/time_recipes.py

Medians of interleaved runs, milliseconds: the whole judgement of a good and of a bad frame, for the bare steps (resize,
score, mask) and for plans; then defects, run lengths and clean-up at their worst, and a book that looks at its files.
The last line is JSON.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from diffad_runtime.defects import find_defects
from diffad_runtime.engines.base import RawMaps
from diffad_runtime.engines.fake import FakeEngine
from diffad_runtime.geometry import to_input
from diffad_runtime.manifest import ImageScore
from diffad_runtime.masks import defect_mask
from diffad_runtime.recipes import RecipeBook, make_recipe
from diffad_runtime.regions.cleanup import clean
from diffad_runtime.regions.plan import Plan
from diffad_runtime.result import Image
from diffad_runtime.rle import decode, encode
from diffad_runtime.rules import DecisionRules
from diffad_runtime.scoring import image_score

SIZE, ROUNDS = 256, 40
RULES = DecisionRules(pixel_threshold=0.5, image_threshold=0.6, image_score=ImageScore(pixels=20), min_defect_pixels=4)


def strip(start: float, end: float) -> list[list[float]]:
    """A polygon over most of the height."""
    return [[start, 0.1], [end, 0.1], [end, 0.9], [start, 0.9]]


CROPS = {"a": strip(0.1, 0.4), "b": strip(0.5, 0.8)}
RECIPES: dict[str, dict[str, Any] | None] = {
    "no recipe": None,
    "an ignored corner": {"ignore": [{"polygons": [[[0.8, 0.8], [1, 0.8], [1, 1], [0.8, 1]]]}]},
    "three regions": {"regions": [{"name": f"r{n}", "polygons": [strip(n / 3, (n + 1) / 3)]} for n in range(3)]},
    "turned by 90": {"orientation": {"rotate": 90}},
    "two crops": {"regions": [{"name": n, "view": "crop", "polygons": [CROPS[n]]} for n in CROPS]},
    "15 tiles of 512": {"tiling": {"size": 512, "overlap": 64}},
}  # fmt: skip


def timed(calls: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds of each, the calls taking turns."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn >= 2:  # warm
                spent[name].append(1e3 * (time.perf_counter() - start))
    return {name: round(median(times), 2) for name, times in spent.items()}


def judged(frame: Image) -> dict[str, float]:
    """The bare steps, and each plan."""
    answer = FakeEngine(SIZE).infer(to_input(frame, SIZE))

    def infer(_: Image) -> RawMaps:
        return answer

    def bare() -> object:
        anomaly = infer(to_input(frame, SIZE)).anomaly
        height, width = frame.shape[:2]
        score = image_score(anomaly, RULES.image_score)
        return score, defect_mask(anomaly, RULES.pixel_threshold, RULES.min_defect_pixels, height, width)

    calls: dict[str, Callable[[], object]] = {"bare steps": bare}
    for name, values in RECIPES.items():
        recipe = None if values is None else make_recipe({"version": 1, "name": "a", "unit": "relative", **values})
        plan = Plan.of(recipe, RULES, SIZE, frame.shape)
        calls[name] = lambda plan=plan: plan.judge(frame, infer)  # type: ignore[misc]
    return timed(calls)


def worst() -> dict[str, float]:
    """Masks of noise, and of one blob."""
    generator = np.random.default_rng(0)
    values = generator.random((1080, 1920), np.float32)
    blob = np.asarray(cv2.circle(np.zeros((1080, 1920), np.uint8), (900, 500), 40, 255, -1), np.uint8)
    noise = {share: np.where(generator.random(blob.shape) < share, 255, 0).astype(np.uint8) for share in (0.02, 0.5)}
    calls: dict[str, Callable[[], object]] = {"defects, empty": lambda: find_defects(np.zeros_like(blob), values)}
    for name, mask in {"one blob": blob, "2 % noise": noise[0.02], "50 % noise": noise[0.5]}.items():
        rle = encode(mask)
        calls[f"defects, {name}"] = lambda mask=mask: find_defects(mask, values)  # type: ignore[misc]
        calls[f"clean-up 2 and 3, {name}"] = lambda mask=mask: clean(mask, opening=2, closing=3, min_area=9)  # type: ignore[misc]
        calls[f"encode, {name}"] = lambda mask=mask: encode(mask)  # type: ignore[misc]
        calls[f"decode, {name}"] = lambda rle=rle: decode(rle)  # type: ignore[misc]
    return timed(calls, 5)


def looking() -> dict[str, float]:
    """A book of 20 recipes that have not changed."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(20):
            Path(folder, f"{number}.toml").write_text(f'version = 1\nname = "r{number}"\nindex = {number}\n')
        book, resting = RecipeBook.open(folder, every_s=0), RecipeBook.open(folder, every_s=3600)
        return timed({"look at 20 files": book.refresh, "between looks": resting.refresh, "get": lambda: book.get(7)})


def main() -> int:
    """Print a table, and JSON."""
    good = np.full((1080, 1920, 3), 128, np.uint8)
    good += np.random.default_rng(0).integers(0, 20, good.shape, dtype=np.uint8)
    bad = np.asarray(cv2.circle(good.copy(), (900, 500), 40, (0, 0, 0), -1), np.uint8)
    told = {"good": judged(good), "bad": judged(bad), "worst": worst(), "book": looking()}
    for part, times in told.items():
        for name, milliseconds in times.items():
            print(f"{part:6s} {name:32s} {milliseconds:8.2f} ms")
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
