"""Frames judged by a recipe, or without one.

Knows how scores, verdicts, mask and defects come of the network's maps. Does not know cameras, a result's metadata or
where recipes come from, nor which pixels count (layout.py).

Everything that comes out is in the camera's frame, whatever the network saw. What does not count is lowered to the
threshold before a map is brought to the frame, so that it cannot reach in by interpolation either.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from diffad_runtime.defects import find_defects
from diffad_runtime.errors import InputError
from diffad_runtime.masks import defect_mask
from diffad_runtime.recipes.recipe import Recipe
from diffad_runtime.regions.layout import Layout, lay_out
from diffad_runtime.regions.marks import mark
from diffad_runtime.regions.views import Infer, Look, Spent
from diffad_runtime.result import Defect, FloatMap, Image, RegionScore, Verdict
from diffad_runtime.rules import DecisionRules
from diffad_runtime.scoring import image_score
from diffad_runtime.verdicts import worst

_LOWEST: Final = np.finfo(np.float32).min
_KEPT_PLANS: Final = 8


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one frame; the fields of Result that hang on pixels.

    Attributes:
        score: of the region whose score is the furthest above, or the least below, its image threshold; of the whole
            frame without a recipe.
        verdict: the worst of all regions.
        image_threshold, pixel_threshold: of the region that gave the score.
        mask: uint8 (H, W), 0 or 255, frame coordinates: of all regions together. Fresh.
        defects: blobs of the mask, largest peak first, at most MOST_DEFECTS. One that reaches over several regions is
            one defect, of the region that its peak lies in.
        anomaly_map: float32, stretched over the whole frame in the camera's orientation. (S, S) where the frame was
            seen at once. Else put together at the finest of the regions' resolutions, MOST_SHOWN a side at most. What
            counts for no region holds one low value, no higher than any other and without heat in pictures.
        regions: one for each region of the recipe, in its order; () without a recipe.
        resize_ms, extract_ms, reconstruct_ms, mask_ms: added up over all inferences.
    """

    score: float
    verdict: Verdict
    image_threshold: float
    pixel_threshold: float
    mask: Image
    defects: tuple[Defect, ...]
    anomaly_map: FloatMap
    regions: tuple[RegionScore, ...]
    resize_ms: float
    extract_ms: float
    reconstruct_ms: float
    mask_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A recipe, or none, for one size of frame. Made by `of`; never changes, may be used by any thread.

    Attributes:
        recipe: None: the whole frame by the bundle's rules.
        rules: of the bundle, or of the command line.
        height, width: of the frames.
        layout: what the network sees and which pixels count.
    """

    recipe: Recipe | None
    rules: DecisionRules
    height: int
    width: int
    layout: Layout

    @classmethod
    def of(cls, recipe: Recipe | None, rules: DecisionRules, input_size: int, frame_shape: Sequence[int]) -> "Plan":
        """Work a recipe out. Takes milliseconds for each region of a 1080p frame: Plans keeps what was made.

        Args:
            recipe: None: the whole frame.
            rules: thresholds that regions do not set, and the way of scoring.
            input_size: S.
            frame_shape: (H, W) or (H, W, 3).

        Raises:
            InputError: the recipe is for frames of another size, a region holds no pixel that counts, or a frame would
                take more than MOST_LOOKS inferences.
        """
        height, width = frame_shape[:2]
        return cls(recipe, rules, height, width, lay_out(recipe, rules, input_size, height, width))

    @property
    def looks(self) -> tuple[Look, ...]:
        """All inferences for one frame."""
        return tuple(look for view in self.layout.views for look in view.looks)

    def judge(self, image: Image, infer: Infer) -> Judged:
        """Judge one frame.

        Args:
            image: uint8 (H, W, 3) BGR or (H, W) grey, of the size that the plan is for. Never written to.
            infer: called once for each look, one after the other.

        Raises:
            InputError: a frame of another size.
            EngineError: of `infer`.
        """
        if image.shape[:2] != (self.height, self.width):
            raise InputError(
                f"the plan is for frames of {self.width} x {self.height}, got {image.shape[1]} x {image.shape[0]}",
                mend="Make a plan for this size",
            )
        start, spent = time.perf_counter(), Spent()
        maps = [view.run(image, infer, spent) for view in self.layout.views]
        regions = self._scores(maps)
        if self.recipe is None:
            (mask, defects), shown = self._mask_of_all(maps[0]), maps[0]
            score, image_threshold = image_score(maps[0], self.rules.image_score), self.rules.image_threshold
            verdict, pixel_threshold = _verdict(score, image_threshold), self.rules.pixel_threshold
        else:
            mask, defects = mark(
                self.layout, self.recipe, self.rules.min_defect_pixels, maps, (self.height, self.width)
            )
            shown, verdict = self._shown(maps), worst(region.verdict for region in regions)
            # A score that is no number stands for the frame, like its verdict ERROR.
            excess = [math.inf if math.isnan(region.score) else region.score - region.threshold for region in regions]
            first = excess.index(max(excess))
            score, image_threshold = regions[first].score, regions[first].threshold
            pixel_threshold = self.layout.regions[first].pixel_threshold
        total = 1e3 * (time.perf_counter() - start)
        return Judged(
            score=score,
            verdict=verdict,
            image_threshold=image_threshold,
            pixel_threshold=pixel_threshold,
            mask=mask,
            defects=defects,
            anomaly_map=shown,
            regions=regions,
            resize_ms=spent.resize,
            extract_ms=spent.extract,
            reconstruct_ms=spent.reconstruct,
            mask_ms=total - spent.resize - spent.infer,
        )

    def _mask_of_all(self, anomaly: FloatMap) -> tuple[Image, tuple[Defect, ...]]:
        # Of a good part nothing need be searched for. Written so that NaN goes on.
        if anomaly.max() <= np.float32(self.rules.pixel_threshold):
            return np.zeros((self.height, self.width), np.uint8), ()
        mask = defect_mask(anomaly, self.rules.pixel_threshold, self.rules.min_defect_pixels, self.height, self.width)
        return mask, find_defects(mask, anomaly)

    def _scores(self, maps: Sequence[FloatMap]) -> tuple[RegionScore, ...]:
        told = []
        for region in self.layout.regions:
            values = maps[region.view][region.window]
            score = image_score(
                values if region.inside is None else np.where(region.inside, values, _LOWEST), region.score
            )
            told.append(
                RegionScore(region.region.name, score, region.image_threshold, _verdict(score, region.image_threshold))
            )
        return tuple(told)

    def _shown(self, maps: Sequence[FloatMap]) -> FloatMap:
        layers = self.layout.layers
        # One threshold's width below the threshold there is no heat (sinks/overlay.py).
        cold = min(layer.threshold - max(abs(layer.threshold), 1e-6) for layer in layers)
        floor = np.float32(min(cold, *(float(values.min()) for values in maps)))
        if not self.layout.shown:
            if any(layer.inside is None for layer in layers):
                return maps[0]
            inside = np.logical_or.reduce([layer.inside for layer in layers if layer.inside is not None])
            return np.where(inside, maps[0], floor)
        whole = np.full(self.layout.shape, floor, np.float32)
        for values, shown in zip(maps, self.layout.shown, strict=True):
            part = whole[shown.placement.rows, shown.placement.columns]
            np.maximum(part, shown.placement.apply(values), out=part, where=shown.inside)
        return whole


class Plans:
    """The plans in use, by recipe, rules and size of frame; the few that were used last. For any thread."""

    def __init__(self, input_size: int) -> None:
        self.input_size = input_size
        self._lock = threading.Lock()
        self._plans: list[Plan] = []

    def of(self, recipe: Recipe | None, rules: DecisionRules, frame_shape: Sequence[int]) -> Plan:
        """As Plan.of, made once.

        Raises:
            InputError: as Plan.of.
        """
        height, width = frame_shape[:2]
        with self._lock:
            for place, plan in enumerate(self._plans):
                if plan.recipe is recipe and (plan.height, plan.width) == (height, width) and plan.rules == rules:
                    self._plans.insert(0, self._plans.pop(place))
                    return plan
        plan = Plan.of(recipe, rules, self.input_size, frame_shape)
        with self._lock:
            self._plans = [plan, *self._plans[: _KEPT_PLANS - 1]]
        return plan


def _verdict(score: float, threshold: float) -> Verdict:
    """A score that is no number is no judgement."""
    if math.isnan(score):
        return Verdict.ERROR
    return Verdict.NG if score > threshold else Verdict.OK
