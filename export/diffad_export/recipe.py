"""`export`: distil, set statistics and thresholds on good images, make the graphs, pass the gates, pack the bundle.

The order of the steps is the recipe; each step has a file of its own.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from diffad_calibration.dataset import open_datasets
from diffad_calibration.precision.variantrecord import MEMBER as CALIBRATION
from diffad_calibration.precision.variants import FORMS
from diffad_export.config import ScoreConfig
from diffad_export.device import pick_device
from diffad_export.distributed import is_alone
from diffad_export.exportoptions import ExportOptions
from diffad_export.judging import Judged, judge, labelled_set
from diffad_export.pasted import PastedSet
from diffad_export.provenance import package_versions, processor
from diffad_export.runfolder import Run, open_run
from diffad_export.secondchance import certified
from diffad_export.split import Split
from diffad_export.student_model import StudentModel, make_student
from diffad_export.variants import known
from diffad_runtime.bundle import describe_members, golden_members, open_bundle, write_bundle
from diffad_runtime.errors import BundleError, DataError, InputError
from diffad_runtime.manifest import Backbone, Manifest, Reconstruction, Thresholds


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written."""

    bundle: Path
    digest: str
    size_mb: float
    variants: dict[str, float]
    thresholds: Thresholds
    alpha: float
    parity: dict[str, Any]
    warnings: list[str]
    search: dict[str, Any] | None = None
    kept: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `variants` gives megabytes of both graphs, `kept` the nodes that are not in INT8, by graph."""
        return asdict(self) | {"bundle": str(self.bundle), "thresholds": self.thresholds.model_dump()}


def export(
    run_folder: Path, data: Path, out: Path, options: ExportOptions, *, search: dict[str, Any] | None = None
) -> ExportSummary:
    """Distil and pack.

    Args:
        search: how these options were found, for the provenance.

    Raises:
        InputError, DataError: run or data cannot be used.
        GateError: a variant is not close enough to torch; nothing is written under `out`.
    """
    names, device = known(list(options.precisions)), pick_device(options.device)
    if not is_alone():
        raise InputError("export works in one process", mend="Start it without torchrun")
    run = open_run(run_folder)
    split = category_split(run, data, options.category)
    if options.labelled is not None:
        labelled_set(options.labelled, run.config.size)  # a wrong folder is told before the training, not after it
    score, config = options.score, run.config
    student = make_student(run, split, options.distil, score, device)
    model, extractor, pasted = student.model, student.extractor, student.pasted
    judged = judge(student, split, names, options, seed=config.seed)
    judged, parity, chances = certified(judged, student, split, names, options, device, seed=config.seed)
    graphs, thresholds = judged.built.graphs, judged.thresholds

    members = _members(judged, parity, pasted)
    manifest = Manifest(
        model_id=f"{split.name}-{config.size}",
        version=_next_version(out, f"{split.name}-{config.size}"),
        created=datetime.now(timezone.utc).replace(microsecond=0),
        input_size=config.size,
        grid=config.size // config.features.grid_stride,
        backbone=Backbone(
            name=extractor.facts.name,
            strides=list(extractor.strides),
            channels=list(extractor.channels),
            licence=extractor.facts.licence,
        ),
        reconstruction=Reconstruction(
            steps=len(model.levels) * score.draws,
            levels=[level.timestep for level in model.levels],
            alpha=model.alpha,
            feature_score=score.feature_score,
            smoothing_sigma=score.smoothing * config.size,
        ),
        image_score=judged.how,
        thresholds=thresholds,
        normal_scores=judged.normal,
        variants={name: FORMS[name] for name in names},
        default_variant="int8" if "int8" in names else names[-1] if FORMS[names[-1]].target != "tensorrt" else "fp32",
        members=describe_members(members),
        provenance=_provenance(run, options, score, student)
        | chances.to_json()
        | ({"search": search} if search else {}),
        licences=[extractor.facts.licence],
    )
    write_bundle(out, manifest, members)
    bundle = open_bundle(out)
    sizes = {n: (len(g.extractor) + len(g.reconstructor)) / 1e6 for n, g in graphs.items()}
    return ExportSummary(
        out,
        bundle.digest,
        bundle.size_bytes / 1e6,
        sizes,
        thresholds,
        model.alpha,
        parity,
        [judged.warning] if judged.warning else [],
        search,
        chances.kept,
    )


def _members(judged: Judged, parity: dict[str, Any], pasted: PastedSet) -> dict[str, bytes]:
    members = {
        "parity.json": json.dumps(parity, indent=2).encode() + b"\n",
        CALIBRATION: judged.built.record().to_bytes(),
    }
    for name, pair in judged.built.graphs.items():
        members[FORMS[name].extractor] = pair.extractor
        members[FORMS[name].reconstructor] = pair.reconstructor
    for number, (row, outcome) in enumerate(zip(judged.golden.rows, judged.golden.outcomes, strict=True)):
        label = "pasted defect" if pasted.labels[row] else "good"
        members |= golden_members(number, pasted.images[row], outcome, label)
    return members


def _next_version(out: Path, model_id: str) -> int:
    """One more than the bundle that is about to be replaced, if it is of the same model."""
    if not out.exists():
        return 1
    try:
        before = open_bundle(out).manifest
    except BundleError:
        return 1
    return before.version + 1 if before.model_id == model_id else 1


def _provenance(run: Run, options: ExportOptions, score: ScoreConfig, student: StudentModel) -> dict[str, Any]:
    fit, fitted = student.fit, student.fit.score
    return {
        "train": run.config.model_dump(mode="json"),
        "distil": student.config.model_dump(mode="json"),
        "score": score.model_dump(mode="json"),
        "student": student.distilled.facts,
        "level_and_term_weights": fitted.feature_weight.tolist(),
        "aupro_on_pasted_defects_by_alpha": {str(k): v for k, v in fit.alphas.items()},
        "data": {"categories": run.facts["categories"], "exported": options.category},
        "versions": package_versions(),
        "processor": processor(),
    }


def category_split(run: Run, data: Path, wanted: str | None) -> Split:
    """The one category that a bundle is made for.

    Raises:
        DataError: none is named where the data hold several, or the one that is named is not there.
    """
    datasets = open_datasets(data)
    names = [dataset.name for dataset in datasets]
    if wanted is None and len(datasets) > 1:
        raise DataError(
            f"{data} holds the categories {', '.join(names)}, a bundle is made for one",
            mend=f"Name it, as in --category {names[0]}",
        )
    chosen = [dataset for dataset in datasets if wanted is None or dataset.name == wanted]
    if not chosen:
        raise DataError(f"no category {wanted!r} in {data}, there is {', '.join(names)}", mend="Choose one of these")
    return run.split(chosen[0])
