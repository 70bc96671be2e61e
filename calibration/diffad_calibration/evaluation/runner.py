"""Runs contestants over test folders, category by category, and keeps figures, not maps.

Maps and masks are compared at the network's input size; masks are resized by nearest neighbour. Nothing is tuned here.
In memory at any time: one category, one contestant's scores (metrics/pixels.py), a few images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diffad_calibration.dataset import Dataset
from diffad_calibration.evaluation.contestants import Contestant, Progress, silent
from diffad_calibration.evaluation.examples import PictureCounts, choose, make_pictures
from diffad_calibration.evaluation.images import ImageBatches
from diffad_calibration.evaluation.results import ClassResult, Evaluation, Scored
from diffad_calibration.loading import load_masks
from diffad_calibration.metrics import EXACT_PIXELS, Bootstrap, ClassMeter, Interval, Replicates, class_metrics
from diffad_calibration.metrics.bootstrap import intervals
from diffad_runtime.errors import DataError, InputError


def evaluate(
    datasets: Sequence[Dataset],
    lineup: Callable[[Dataset], Sequence[Contestant]],
    size: int,
    *,
    first: str | None = None,
    bootstrap: Bootstrap | None = None,
    pictures: PictureCounts | None = None,
    exact_pixels: int | None = EXACT_PIXELS,
    progress: Progress = silent,
) -> Evaluation:
    """Score every test image of every category with every contestant.

    Args:
        datasets: one or more, names distinct.
        lineup: makes a category's contestants, of the same names in each; they are closed when it is done.
        size: S, pixels: input, map and mask resolution.
        first: name of the contestant that matters most; None: the lineup's first one.
        bootstrap: for intervals, None for none.
        pictures: frames to show of each category with the first contestant's answer, None for none.
        exact_pixels: as ClassMeter.

    Raises:
        DataError: no test images, or files that cannot be read.
        InputError: contestants that differ between categories, two of one name, or no `first` among them.
    """
    for dataset in datasets:
        if not dataset.test:
            raise DataError(
                f"{dataset.root} has no labelled test images",
                mend="Evaluation needs test/good, test/<kind> and ground_truth/<kind>/<stem>_mask.png",
            )
    if not datasets:
        raise DataError("no category to evaluate, expected at least one", mend="Check the data folder")
    rules = _Rules(size, bootstrap, pictures, exact_pixels, progress)
    results: list[ClassResult] = []
    for dataset in datasets:
        first, result = _measure(dataset, lineup, rules, first, results)
        results.append(result)
    return Evaluation(size, str(first), results, bootstrap)


@dataclass(frozen=True, slots=True)
class _Rules:
    """The same for every category."""

    size: int
    bootstrap: Bootstrap | None
    pictures: PictureCounts | None
    exact_pixels: int | None
    progress: Progress


def _measure(
    dataset: Dataset,
    lineup: Callable[[Dataset], Sequence[Contestant]],
    rules: _Rules,
    first: str | None,
    before: list[ClassResult],
) -> tuple[str, ClassResult]:
    """One category, and the name of the contestant that matters. What it needed in memory goes with this frame."""
    labels = np.array([sample.label for sample in dataset.test], np.int64)
    kinds = [sample.kind for sample in dataset.test]
    names = [f"{sample.image.parent.name}/{sample.image.name}" for sample in dataset.test]
    images = ImageBatches([sample.image for sample in dataset.test], rules.size)
    models: dict[str, Scored] = {}
    contestants = lineup(dataset)
    try:
        chosen = _check(contestants, before, first)
        for contestant in contestants:
            models[contestant.name] = _score(contestant, dataset, images, rules, len(before))
        result = ClassResult(dataset.name, labels, kinds, names, models)
        if rules.pictures is not None and chosen.display is not None:
            scores = models[chosen.name].scores
            choice = choose(result, scores, chosen.threshold, rules.pictures)
            masks = load_masks([dataset.test[row] for row in choice.rows], rules.size)
            pictures = make_pictures(result, choice, scores, chosen, images.rows(choice.rows), masks)
            result = replace(result, pictures=pictures)
        return chosen.name, result
    finally:
        for contestant in contestants:
            contestant.close()


def _score(contestant: Contestant, dataset: Dataset, images: ImageBatches, rules: _Rules, stream: int) -> Scored:
    meter, total = ClassMeter(exact_pixels=rules.exact_pixels), len(images)
    done = 0
    for batch in images:
        samples = dataset.test[done : done + len(batch)]
        for one, mask, sample in zip(contestant.maps(batch), load_masks(samples, rules.size), samples, strict=True):
            meter.add(one, mask, contestant.score(one), sample.label)
        done += len(batch)
        rules.progress(f"Scoring {dataset.name} with {contestant.name}", done, total)
    found: dict[str, Interval] = {}
    replicates: Replicates = {}
    if rules.bootstrap is not None:
        replicates = meter.replicates(rules.bootstrap, stream)
        found = intervals(replicates, rules.bootstrap.level)
    return Scored(
        metrics=class_metrics(meter),
        scores=meter.scores,
        note=contestant.note,
        threshold=contestant.threshold,
        variant=contestant.variant,
        curves=meter.curves(),
        intervals=found,
        replicates=replicates,
    )


def _check(contestants: Sequence[Contestant], before: list[ClassResult], first: str | None) -> Contestant:
    """The contestant that matters most."""
    names = [contestant.name for contestant in contestants]
    if len(set(names)) != len(names) or not names:
        raise InputError(f"expected contestants of distinct names, got {names}", mend="Give each a name of its own")
    if before and list(before[0].models) != names:
        raise InputError(
            f"{before[0].name} was measured with {list(before[0].models)}, the next category with {names}",
            mend="Measure the same models on every category",
        )
    chosen = [contestant for contestant in contestants if first in (None, contestant.name)]
    if not chosen:
        raise InputError(f"no contestant is named {first!r}", mend=f"Choose from: {', '.join(names)}")
    return chosen[0]
