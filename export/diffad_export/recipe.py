"""`export`: distil, set statistics and thresholds on good images, make the graphs, pass the gates, pack the bundle.

The order of the steps is the recipe; each step has a file of its own.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diffad_calibration.dataset import open_datasets
from diffad_calibration.thresholds import set_thresholds
from diffad_export.config import STUDENT_SCORE, DistilConfig, ScoreConfig, ThresholdConfig
from diffad_export.device import pick_device
from diffad_export.distil import Distilled, distil
from diffad_export.distributed import is_alone
from diffad_export.fitting import Fit, fit_score
from diffad_export.gates import Golden, certify, pick_golden
from diffad_export.maps import torch_maps
from diffad_export.pasted import PastedSet, paste_set
from diffad_export.provenance import package_versions, processor
from diffad_export.reconstructor import Reconstructor, fixed_noise, levels_of
from diffad_export.runfolder import NOISE_SEED, Run, open_run
from diffad_export.score import FittedScore
from diffad_export.split import Split
from diffad_export.variants import FORMS, Graphs, build_graphs, engine_maps, known, outcomes
from diffad_runtime.bundle import describe_members, open_bundle, write_bundle
from diffad_runtime.errors import BundleError, DataError, InputError
from diffad_runtime.manifest import Backbone, ImageScore, Manifest, Reconstruction, Thresholds
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score

CALIBRATION_IMAGES = 64


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `export` is asked for.

    Attributes:
        category: which one of a run that knows several; None where the data hold only one.
    """

    distil: DistilConfig = field(default_factory=DistilConfig)
    score: ScoreConfig = STUDENT_SCORE
    thresholds: ThresholdConfig = field(default_factory=ThresholdConfig)
    category: str | None = None
    precisions: tuple[str, ...] = ("fp32", "int8")
    max_aupro_drop: float = 0.005
    device: str = "auto"


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

    def to_json(self) -> dict[str, Any]:
        """Plain values; `variants` gives megabytes of both graphs."""
        return asdict(self) | {"bundle": str(self.bundle), "thresholds": self.thresholds.model_dump()}


def export(run_folder: Path, data: Path, out: Path, options: ExportOptions) -> ExportSummary:
    """Distil and pack.

    Raises:
        InputError, DataError: run or data cannot be used.
        GateError: a variant is not close enough to torch; nothing is written under `out`.
    """
    names, device = known(list(options.precisions)), pick_device(options.device)
    if not is_alone():
        raise InputError("export works in one process", mend="Start it without torchrun")
    run = open_run(run_folder)
    split = _category(run, data, options.category)
    extractor, score, config = run.extractor(), options.score, run.config
    # Standardised as the teacher was trained: over all categories, where it serves several.
    cache = run.feature_cache([split], extractor)
    labels = np.full(len(cache), run.label(split.name) or 0)
    student = distil(run, replace(cache, norm=run.norm(), labels=labels), options.distil, device)

    levels = levels_of((options.distil.chain_step,))
    model = Reconstructor(
        student.student.fold(),
        run.norm(),
        levels,
        fixed_noise(1, config.size, NOISE_SEED),
        FittedScore.neutral(score.feature_score, 1, sum(extractor.channels)),
        sigma=score.smoothing * config.size,
        grid_stride=config.features.grid_stride,
    ).eval()
    pasted = paste_set(split.held, seed=config.seed)
    fit = fit_score(model, extractor, split.held, pasted, score, more=split.train)

    how = ImageScore(pixels=min(score.top_pixels, config.size**2))
    held_maps = torch_maps(extractor, model, split.held)
    thresholds, warning = set_thresholds(
        [image_score(one, how) for one in held_maps],
        held_maps,
        false_reject_rate=options.thresholds.false_reject_rate,
        pixel_rate=options.thresholds.pixel_rate,
    )

    graphs = build_graphs(extractor, model, names, _calibration(split.train, config.seed))
    reference = outcomes(torch_maps(extractor, model, pasted.images), how, thresholds.image)
    golden = pick_golden(reference, pasted.labels, thresholds.image)
    answers = {name: outcomes(engine_maps(graphs[name], name, pasted.images), how, thresholds.image) for name in names}
    parity = certify(reference, answers, pasted, golden, max_aupro_drop=options.max_aupro_drop)

    members = _members(graphs, parity, pasted, golden)
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
            steps=1,
            levels=[level.timestep for level in model.levels],
            alpha=model.alpha,
            feature_score=score.feature_score,
            smoothing_sigma=score.smoothing * config.size,
        ),
        image_score=how,
        thresholds=thresholds,
        variants={name: FORMS[name] for name in names},
        default_variant=names[-1],
        members=describe_members(members),
        provenance=_provenance(run, options, score, student, fit),
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
        [warning] if warning else [],
    )


def _calibration(train: Image, seed: int) -> Image:
    """What INT8 ranges are measured on, (N, S, S, 3): good images of the training, half of them with a pasted defect.

    Activations at a defect are larger than any on good parts: ranges that never saw one clip what matters most.
    """
    chosen = train[:CALIBRATION_IMAGES]
    count = len(chosen)
    spoiled = paste_set(chosen, seed=seed + 1).images[count:]
    return np.concatenate([chosen[: count - count // 2], spoiled[count - count // 2 :]])


def _members(graphs: dict[str, Graphs], parity: dict[str, Any], pasted: PastedSet, golden: Golden) -> dict[str, bytes]:
    members = {"parity.json": json.dumps(parity, indent=2).encode() + b"\n"}
    for name, pair in graphs.items():
        members[FORMS[name].extractor] = pair.extractor
        members[FORMS[name].reconstructor] = pair.reconstructor
    for number, (row, outcome) in enumerate(zip(golden.rows, golden.outcomes, strict=True)):
        record = {
            "label": "pasted defect" if pasted.labels[row] else "good",
            "score": outcome.score,
            "verdict": "NG" if outcome.ng else "OK",
            "map_mean": float(outcome.map.mean(dtype=np.float64)),
            "map_max": float(outcome.map.max()),
        }
        members[f"golden/{number:02d}.png"] = _png(pasted.images[row])
        members[f"golden/{number:02d}.json"] = json.dumps(record, indent=2).encode() + b"\n"
    return members


def _png(image: Image) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


def _next_version(out: Path, model_id: str) -> int:
    """One more than the bundle that is about to be replaced, if it is of the same model."""
    if not out.exists():
        return 1
    try:
        before = open_bundle(out).manifest
    except BundleError:
        return 1
    return before.version + 1 if before.model_id == model_id else 1


def _provenance(run: Run, options: ExportOptions, score: ScoreConfig, student: Distilled, fit: Fit) -> dict[str, Any]:
    fitted = fit.score
    return {
        "train": run.config.model_dump(mode="json"),
        "distil": options.distil.model_dump(mode="json"),
        "score": score.model_dump(mode="json"),
        "student": student.facts,
        "level_and_term_weights": fitted.feature_weight.tolist(),
        "aupro_on_pasted_defects_by_alpha": {str(k): v for k, v in fit.alphas.items()},
        "data": {"categories": run.facts["categories"], "exported": options.category},
        "versions": package_versions(),
        "processor": processor(),
    }


def _category(run: Run, data: Path, wanted: str | None) -> Split:
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
