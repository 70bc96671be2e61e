"""`export`: distil, set statistics and thresholds on good images, make the graphs, pass the gates, pack the bundle.

The order of the steps is the recipe; each step has a file of its own.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diffad_calibration.dataset import open_dataset
from diffad_calibration.loading import load_images
from diffad_calibration.thresholds import set_thresholds
from diffad_export.backbone.extractor import STRIDES
from diffad_export.config import DistilConfig, ScoreConfig
from diffad_export.device import pick_device
from diffad_export.distil import distil
from diffad_export.fitting import PastedSet, choose_alpha, normal_statistics, paste_set
from diffad_export.gates import Golden, certify, pick_golden
from diffad_export.provenance import package_versions, processor
from diffad_export.reconstructor import Reconstructor, fixed_noise, levels_of
from diffad_export.runfolder import NOISE_SEED, Run, open_run
from diffad_export.variants import FORMS, Graphs, build_graphs, engine_maps, known, outcomes, torch_maps
from diffad_runtime.bundle import describe_members, open_bundle, write_bundle
from diffad_runtime.errors import BundleError
from diffad_runtime.manifest import Backbone, ImageScore, Manifest, Reconstruction, Thresholds
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score

CALIBRATION_IMAGES = 64


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `export` is asked for."""

    distil: DistilConfig = field(default_factory=DistilConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)
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
    run = open_run(run_folder)
    dataset = open_dataset(data)
    split = run.split(load_images(dataset.train_good, run.config.size))
    extractor, score, config = run.extractor(), options.score, run.config
    cache = run.feature_cache(split, extractor)
    student = distil(run, cache, options.distil, device)

    model = Reconstructor(
        student.student.fold(),
        run.norm(),
        levels_of((options.distil.chain_step,)),
        fixed_noise(1, config.size, NOISE_SEED),
        kind=score.feature_score,
        sigma=score.smoothing * config.size,
    ).eval()
    pasted = paste_set(split.held, seed=config.seed)
    model.statistics = normal_statistics(model, extractor, split.held)
    model.alpha, alphas = choose_alpha(model, extractor, pasted)
    if score.alpha is not None:
        model.alpha = score.alpha

    how = ImageScore(pixels=min(score.top_pixels, config.size**2))
    held_maps = torch_maps(extractor, model, split.held)
    thresholds, warning = set_thresholds(
        [image_score(one, how) for one in held_maps],
        held_maps,
        false_reject_rate=score.false_reject_rate,
        pixel_rate=score.pixel_rate,
    )

    graphs = build_graphs(extractor, model, names, split.train[:CALIBRATION_IMAGES])
    reference = outcomes(torch_maps(extractor, model, pasted.images), how, thresholds.image)
    golden = pick_golden(reference, pasted.labels, thresholds.image)
    answers = {name: outcomes(engine_maps(graphs[name], name, pasted.images), how, thresholds.image) for name in names}
    parity = certify(reference, answers, pasted, golden, max_aupro_drop=options.max_aupro_drop)

    members = _members(graphs, parity, pasted, golden)
    manifest = Manifest(
        model_id=f"{dataset.name}-{config.size}",
        version=_next_version(out, f"{dataset.name}-{config.size}"),
        created=datetime.now(timezone.utc).replace(microsecond=0),
        input_size=config.size,
        grid=config.size // 4,
        backbone=Backbone(
            name=extractor.facts.name,
            strides=list(STRIDES),
            channels=list(extractor.facts.channels),
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
        provenance=_provenance(run, options, student.facts, model, alphas),
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


def _provenance(
    run: Run, options: ExportOptions, student: dict[str, Any], model: Reconstructor, alphas: dict[float, float]
) -> dict[str, Any]:
    return {
        "train": run.config.model_dump(mode="json"),
        "distil": options.distil.model_dump(mode="json"),
        "score": options.score.model_dump(mode="json"),
        "student": student,
        "normal_statistics": {k: list(v) for k, v in asdict(model.statistics).items()},
        "aupro_on_pasted_defects_by_alpha": {str(k): v for k, v in alphas.items()},
        "data": {k: run.facts[k] for k in ("dataset", "data_digest", "good_images")},
        "versions": package_versions(),
        "processor": processor(),
    }
