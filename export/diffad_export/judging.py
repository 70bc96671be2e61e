"""A student in every precision before its gates, and the second chance of INT8: a finish with fake quantisation.

Knows students, graphs and gates. Does not know bundles.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from diffad_calibration.thresholds import set_thresholds
from diffad_export.exportoptions import ExportOptions
from diffad_export.finishing import figures, finish_int8
from diffad_export.gates import Golden, certify, pick_golden
from diffad_export.maps import torch_maps
from diffad_export.pasted import paste_set
from diffad_export.split import Split
from diffad_export.student_model import StudentModel
from diffad_export.variants import Graphs, build_graphs, engine_maps, outcomes
from diffad_runtime.errors import GateError
from diffad_runtime.manifest import ImageScore, Thresholds
from diffad_runtime.parity import FrameOutcome
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score

CALIBRATION_IMAGES = 64


@dataclass(frozen=True, slots=True)
class Judged:
    """A student in every precision, and what each says to the images that gates look at.

    Attributes:
        warning: on the thresholds; None where there is none.
        reference: torch's outcomes on the pasted set; `answers`: those of each precision's engine.
    """

    how: ImageScore
    thresholds: Thresholds
    warning: str | None
    graphs: dict[str, Graphs]
    reference: list[FrameOutcome]
    golden: Golden
    answers: dict[str, list[FrameOutcome]]


def judge(student: StudentModel, split: Split, names: list[str], options: ExportOptions, *, seed: int) -> Judged:
    """Set the thresholds, make the graphs, and ask torch and each engine about the pasted set.

    Args:
        names: of precisions, as `known` gives them.
        seed: of the run.
    """
    model, extractor, pasted = student.model, student.extractor, student.pasted
    how = ImageScore(pixels=min(options.score.top_pixels, split.held.shape[1] ** 2))
    held_maps = torch_maps(extractor, model, split.held)
    thresholds, warning = set_thresholds(
        [image_score(one, how) for one in held_maps],
        held_maps,
        false_reject_rate=options.thresholds.false_reject_rate,
        pixel_rate=options.thresholds.pixel_rate,
    )
    graphs = build_graphs(extractor, model, names, calibration_images(split.train, seed))
    reference = outcomes(torch_maps(extractor, model, pasted.images), how, thresholds.image)
    golden = pick_golden(reference, pasted.labels, thresholds.image)
    answers = {name: outcomes(engine_maps(graphs[name], name, pasted.images), how, thresholds.image) for name in names}
    return Judged(how, thresholds, warning, graphs, reference, golden, answers)


def calibration_images(train: Image, seed: int) -> Image:
    """What INT8 ranges are measured on, (N, S, S, 3): good images of the training, half of them with a pasted defect.

    Activations at a defect are larger than any on good parts: ranges that never saw one clip what matters most.
    """
    chosen = train[:CALIBRATION_IMAGES]
    count = len(chosen)
    spoiled = paste_set(chosen, seed=seed + 1).images[count:]
    return np.concatenate([chosen[: count - count // 2], spoiled[count - count // 2 :]])


def certified(
    judged: Judged,
    student: StudentModel,
    split: Split,
    names: list[str],
    options: ExportOptions,
    device: torch.device,
    *,
    seed: int,
) -> tuple[Judged, dict[str, Any], dict[str, Any] | None]:
    """Hold every precision against torch; finish INT8 where that is asked for, or where a gate refuses it.

    Returns:
        What was judged, with the INT8 graphs that are to be shipped; the contents of parity.json; what the finish
        did, None where there was none.

    Raises:
        GateError: a variant is not close enough to torch, INT8 even after its finish.
    """

    def held(own: Judged, only: list[str]) -> dict[str, Any]:
        answers = {name: own.answers[name] for name in only}
        drop = options.max_aupro_drop
        return certify(own.reference, answers, student.pasted, own.golden, max_aupro_drop=drop)

    refused: str | None = None
    if options.finish != "on" or "int8" not in names:
        try:
            return judged, held(judged, names), None
        except GateError as error:
            if options.finish == "off" or "int8" not in names:
                raise
            refused = str(error)
    held(judged, [name for name in names if name != "int8"])  # raises where the fault is not INT8's
    made, facts = finish_int8(
        student.extractor,
        student.model,
        judged.graphs["int8"],
        split.train,
        calibration_images(split.train, seed),
        student.distilled.folder,
        device,
        seed=seed,
    )
    found = outcomes(engine_maps(made, "int8", student.pasted.images), judged.how, judged.thresholds.image)
    facts |= {
        "refused": refused,
        "before": figures(judged.reference, judged.answers["int8"]),
        "after": figures(judged.reference, found),
    }
    after = replace(judged, graphs=judged.graphs | {"int8": made}, answers=judged.answers | {"int8": found})
    return after, held(after, names), facts
