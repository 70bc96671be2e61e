"""What follows a refusal: the worst layers of an INT8 variant are kept out of INT8; where that is not enough, INT8 for
the CPU is fine-tuned with fake quantisation.

Knows gates, layers and the finish. Does not know bundles.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from diffad_calibration.metrics import evaluate_maps
from diffad_calibration.precision.sensitivity import LayerEffect, int8_variants, layer_effects
from diffad_calibration.precision.variants import GRAPHS
from diffad_export.exportoptions import ExportOptions
from diffad_export.finishing import figures, finish_int8
from diffad_export.gates import certify, check_graphs
from diffad_export.judging import Judged, calibration_images
from diffad_export.pasted import PastedSet
from diffad_export.progress import bar
from diffad_export.split import Split
from diffad_export.student_model import StudentModel
from diffad_runtime.errors import GateError
from diffad_runtime.result import FloatMap

MOST_KEPT = 0.25
"""Share of the layers that may be kept out of INT8: with more of them the variant is not what its name says."""
LOOKED_AT = 12
"""Good images, and as many with a pasted defect, that single layers are judged by."""


@dataclass(slots=True)
class Chances:
    """What was done for variants that a gate refused; goes into the provenance.

    Attributes:
        layers: by variant, the effect of rounding each layer, worst first.
        kept: by variant, graph -> nodes that were kept out of INT8.
        finish: what the fine-tuning did; None where there was none.
    """

    layers: dict[str, list[LayerEffect]] = field(default_factory=dict)
    kept: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    finish: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; empty where nothing was looked at."""
        found: dict[str, Any] = {}
        if self.layers:
            found["layers"] = {name: [one.to_dict() for one in effects] for name, effects in self.layers.items()}
        if self.refused:
            found["refused_at_first"] = self.refused
        if self.kept:
            found["kept_out_of_int8"] = self.kept
        if self.finish:
            found["finish"] = self.finish
        return found


def certified(
    judged: Judged,
    student: StudentModel,
    split: Split,
    names: list[str],
    options: ExportOptions,
    device: torch.device,
    *,
    seed: int,
) -> tuple[Judged, dict[str, Any], Chances]:
    """Hold every variant against torch, and give those of INT8 that are refused their second chance.

    Returns:
        What was judged, with the graphs that are to be shipped; the contents of parity.json; what was done.

    Raises:
        GateError: a variant is not close enough to torch, or a graph is one that its backend does not accept.
    """

    def held(own: Judged, only: list[str]) -> dict[str, Any]:
        answers = {name: own.answers[name] for name in only}
        return certify(
            own.reference,
            answers,
            student.pasted,
            own.golden,
            max_aupro_drop=options.max_aupro_drop,
            labelled=own.labelled,
        )

    chances = Chances()
    if options.sensitivity:
        for name in int8_variants(names):
            chances.layers[name] = effects_of(judged, name, student.pasted)
    for name in names:
        if name == "int8" and options.finish == "on":
            judged = _finished(judged, student, split, device, chances, seed=seed)
        try:
            held(judged, [name])
            continue
        except GateError as error:
            if not int8_variants([name]) or (not options.fallback and (options.finish == "off" or name != "int8")):
                raise
            refusal = error
        chances.refused[name] = str(refusal)
        relieved = relieve(judged, name, student.pasted, held, chances) if options.fallback else None
        if relieved is not None:
            judged = relieved
        elif name == "int8" and options.finish == "auto":
            judged = _finished(judged, student, split, device, chances, seed=seed)
        else:
            raise refusal
    tuned = [name for name, record in judged.built.records.items() if record.tuned]
    check_graphs(judged.built.graphs, tuned)
    return judged, held(judged, names), chances


def relieve(
    judged: Judged,
    name: str,
    pasted: PastedSet,
    held: Callable[[Judged, list[str]], Any],
    chances: Chances,
) -> Judged | None:
    """Keep the worst layers out of INT8, as few as the gate lets through; None where MOST_KEPT are not enough.

    Numbers of layers are doubled until the gate passes, then halved towards the fewest.
    """
    if judged.built.records[name].tuned:
        return None
    effects = chances.layers.get(name) or effects_of(judged, name, pasted)
    chances.layers[name] = effects
    most = int(MOST_KEPT * len(effects))

    def tried(count: int) -> Judged | None:
        kept = {graph: [one.node for one in effects[:count] if one.graph == graph] for graph in GRAPHS}
        built = judged.built.remade(name, {graph: tuple(nodes) for graph, nodes in kept.items()})
        trial = judged.with_variant(built, name, pasted)
        try:
            held(trial, [name])
        except GateError:
            return None
        chances.kept[name] = kept
        return trial

    failed, count, found = 0, 1, None
    while found is None and count <= most:
        found = tried(count)
        if found is None:
            failed, count = count, min(2 * count, most) if count < most else most + 1
    while found is not None and count - failed > 1:
        middle = (failed + count) // 2
        better = tried(middle)
        if better is None:
            failed = middle
        else:
            found, count = better, middle
    return found


def effects_of(judged: Judged, name: str, pasted: PastedSet) -> list[LayerEffect]:
    """Of every layer of a variant, on a few of the images that gates look at."""
    half = len(pasted.images) // 2
    rows = np.r_[0 : min(LOOKED_AT, half), half : half + min(LOOKED_AT, half)]
    masks, labels = pasted.masks[rows], pasted.labels[rows]

    def aupro(maps: FloatMap) -> float:
        scores = maps.reshape(len(maps), -1).max(1)
        return float(evaluate_maps(maps, masks, scores, labels).aupro_30 or 0.0)

    with bar() as progress:
        task = progress.add_task(f"Layers of {name}", total=None)
        return layer_effects(
            judged.built.calibrator,
            name,
            pasted.images[rows],
            aupro,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def _finished(
    judged: Judged,
    student: StudentModel,
    split: Split,
    device: torch.device,
    chances: Chances,
    *,
    seed: int,
) -> Judged:
    made, facts = finish_int8(
        student.extractor,
        student.model,
        judged.built.graphs["int8"],
        split.train,
        calibration_images(split.train, seed),
        student.distilled.folder,
        device,
        seed=seed,
    )
    after = judged.with_variant(judged.built.replaced("int8", made), "int8", student.pasted)
    chances.finish = facts | {
        "refused": chances.refused.get("int8"),
        "before": figures(judged.reference, judged.answers["int8"]),
        "after": figures(judged.reference, after.answers["int8"]),
    }
    return after
