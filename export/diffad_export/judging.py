"""A student in every variant, thresholds set, and what each variant says to the images that gates look at.

Knows students and graphs. Does not know what a gate allows (gates.py), nor what follows a refusal (secondchance.py).
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffad_calibration.dataset import open_datasets
from diffad_calibration.loading import load_images, load_masks
from diffad_calibration.precision.truehalf import as_computed
from diffad_calibration.precision.variants import Graphs
from diffad_calibration.thresholds.normalscores import normal_scores
from diffad_calibration.thresholds.setting import set_thresholds
from diffad_export.exportoptions import ExportOptions
from diffad_export.gates import Golden, Shown, pick_golden
from diffad_export.maps import torch_maps
from diffad_export.pasted import PastedSet, paste_set
from diffad_export.split import Split
from diffad_export.student_model import StudentModel
from diffad_export.variants import Built, build_graphs, engine_maps, outcomes
from diffad_runtime.errors import DataError, EngineError, GateError
from diffad_runtime.manifest import ImageScore, NormalScores, Thresholds
from diffad_runtime.parity import FrameOutcome
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score

CALIBRATION_IMAGES = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """A student in every precision, and what each says to the images that gates look at.

    Attributes:
        normal: scores of the good images held back.
        warning: on the thresholds; None where there is none.
        reference: torch's outcomes on the pasted set; `answers`: those of each variant's engine.
        labelled: the same on labelled data, where they were given: AUPRO is then judged there.
    """

    how: ImageScore
    thresholds: Thresholds
    normal: NormalScores
    warning: str | None
    built: Built
    reference: list[FrameOutcome]
    golden: Golden
    answers: dict[str, list[FrameOutcome]]
    labelled: Shown | None = None

    def with_variant(self, built: Built, name: str, pasted: PastedSet) -> "Judged":
        """With a variant made anew, and asked."""
        graphs = built.graphs[name]
        found = self.labelled
        if found is not None:
            found = replace(found, answers=found.answers | {name: self._answers(graphs, name, found.set)})
        answers = self.answers | {name: self._answers(graphs, name, pasted)}
        return replace(self, built=built, answers=answers, labelled=found)

    def _answers(self, graphs: Graphs, name: str, shown: PastedSet) -> list[FrameOutcome]:
        try:
            maps = engine_maps(as_computed(graphs, name), name, shown.images)
        except EngineError as error:
            raise GateError(f"{name}: {error.what}", mend="Export without this precision") from error
        return outcomes(maps, self.how, self.thresholds.image)


def judge(student: StudentModel, split: Split, names: list[str], options: ExportOptions, *, seed: int) -> Judged:
    """Set the thresholds, make the graphs, and ask torch and each engine about the pasted set.

    Args:
        names: of precisions, as `known` gives them.
        seed: of the run.
    """
    model, extractor, pasted = student.model, student.extractor, student.pasted
    how = ImageScore(pixels=min(options.score.top_pixels, split.held.shape[1] ** 2))
    held_maps = torch_maps(extractor, model, split.held)
    scores = [image_score(one, how) for one in held_maps]
    thresholds, warning = set_thresholds(
        scores,
        held_maps,
        false_reject_rate=options.thresholds.false_reject_rate,
        pixel_rate=options.thresholds.pixel_rate,
    )
    built = build_graphs(extractor, model, names, calibration_images(split.train, seed), estimator=options.estimator)
    reference = outcomes(torch_maps(extractor, model, pasted.images), how, thresholds.image)
    golden = pick_golden(reference, pasted.labels, thresholds.image)
    labelled = None
    if options.labelled is not None:
        shown = labelled_set(options.labelled, split.held.shape[1])
        torchs = outcomes(torch_maps(extractor, model, shown.images), how, thresholds.image)
        labelled = Shown(shown, torchs, {})
    judged = Judged(how, thresholds, normal_scores(scores), warning, built, reference, golden, {}, labelled)
    for name in names:
        judged = judged.with_variant(built, name, pasted)
    return judged


def labelled_set(folder: Path, size: int) -> PastedSet:
    """Test images with masks, of one category in the MVTec-AD layout, at the network's size.

    Raises:
        DataError: not one category, no defects, no good images, or files that cannot be read.
    """
    datasets = open_datasets(folder)
    if len(datasets) != 1:
        raise DataError(f"{folder} holds {len(datasets)} categories, expected one", mend="Name the folder of one")
    test = datasets[0].test
    labels = np.array([sample.label for sample in test], np.int64)
    if len(set(labels.tolist())) != 2:
        raise DataError(
            f"{folder} has {int((labels == 0).sum())} good and {int((labels == 1).sum())} defective test images, "
            "expected some of both",
            mend="Label images of both kinds, or leave the option out",
        )
    return PastedSet(load_images([sample.image for sample in test], size).array, load_masks(test, size), labels)


def calibration_images(train: Image, seed: int) -> Image:
    """What INT8 ranges are measured on, (N, S, S, 3): good images of the training, half of them with a pasted defect.

    Activations at a defect are larger than any on good parts: ranges that never saw one clip what matters most.
    """
    chosen = train[:CALIBRATION_IMAGES]
    count = len(chosen)
    spoiled = paste_set(chosen, seed=seed + 1).images[count:]
    return np.concatenate([chosen[: count - count // 2], spoiled[count - count // 2 :]])
