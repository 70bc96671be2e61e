"""Runs contestants over a test folder and collects what metrics and pictures need.

Maps and masks are compared at the network's input size; masks are resized by nearest neighbour. Nothing is tuned here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation.contestants import BATCH, Contestant, Progress, silent
from diffad_calibration.loading import load_images, load_masks
from diffad_calibration.metrics import ClassMetrics, evaluate_maps, macro_average
from diffad_runtime.errors import DataError
from diffad_runtime.result import Image


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One contestant on one class: its figures, and its image scores float64 (N,) in the order of the samples."""

    metrics: ClassMetrics
    scores: npt.NDArray[np.float64]
    contestant: Contestant


@dataclass(frozen=True, slots=True, eq=False)
class ClassResult:
    """One class.

    Attributes:
        name: of the class.
        images: uint8 (N, S, S, 3); masks: uint8 (N, S, S); labels: int64 (N,); kinds, names: N each.
        models: by contestant's name.
    """

    name: str
    images: Image
    masks: Image
    labels: npt.NDArray[np.int64]
    kinds: list[str]
    names: list[str]
    models: dict[str, Scored] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All classes and models; `first` is the model that the product ships."""

    size: int
    first: str
    classes: list[ClassResult]

    def to_json(self) -> dict[str, object]:
        """`classes` and `macro` are those of the shipped model, `models` holds the same for every model."""
        names = list(self.classes[0].models)
        models: dict[str, dict[str, object]] = {}
        for model in names:
            per_class = {c.name: c.models[model].metrics for c in self.classes}
            models[model] = {
                "classes": {name: metrics.to_dict() for name, metrics in per_class.items()},
                "macro": macro_average(per_class).to_dict(),
            }
        return {**models[self.first], "model": self.first, "resolution": self.size, "models": models}


def evaluate(
    dataset: Dataset, contestants: Sequence[Contestant], size: int, *, first: str, progress: Progress = silent
) -> Evaluation:
    """Score every test image with every contestant.

    Args:
        size: S, pixels: input, map and mask resolution.
        first: name of the contestant that the product ships.

    Raises:
        DataError: no test images, or files that cannot be read.
    """
    if not dataset.test:
        raise DataError(
            f"{dataset.root} has no labelled test images",
            mend="Evaluation needs test/good, test/<kind> and ground_truth/<kind>/<stem>_mask.png",
        )
    loaded = load_images([sample.image for sample in dataset.test], size)
    labels = np.array([sample.label for sample in dataset.test], np.int64)
    result = ClassResult(
        name=dataset.name,
        images=loaded.array,
        masks=load_masks(dataset.test, size),
        labels=labels,
        kinds=[sample.kind for sample in dataset.test],
        names=loaded.names,
    )
    for contestant in contestants:
        maps = np.empty((len(labels), size, size), np.float32)
        for start in range(0, len(labels), BATCH):
            stop = min(start + BATCH, len(labels))
            maps[start:stop] = contestant.maps(loaded.array[start:stop])
            progress(f"Scoring with {contestant.name}", stop, len(labels))
        scores = np.array([contestant.score(one) for one in maps])
        metrics = evaluate_maps(maps, result.masks, scores, labels)
        result.models[contestant.name] = Scored(metrics, scores, contestant)
    return Evaluation(size, first, [result])
