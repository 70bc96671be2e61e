"""What the command line calls in this room: options as typed in, settings checked, one library function each.

Imported lazily by the sdk, so that `--help` needs no torch. Prints nothing.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from diffad_calibration.precision.ranges import ESTIMATORS
from diffad_calibration.precision.variants import ESTIMATOR
from diffad_export.ablation import ablate
from diffad_export.ablation.paths import changed
from diffad_export.config import (
    PRESETS,
    STUDENT_SCORE,
    DistilConfig,
    OptimiserConfig,
    ScoreConfig,
    ThresholdConfig,
    TrainConfig,
)
from diffad_export.demo import demo
from diffad_export.explain_run import explain_run
from diffad_export.exportoptions import ExportOptions
from diffad_export.finishing import Finish
from diffad_export.outside_timing import reference_timing
from diffad_export.recipe import ExportSummary, export
from diffad_export.search import PRECISIONS, SearchOptions, Watch, search_export
from diffad_export.teacher_contestant import run_lineup, teacher_contestant, teacher_timing
from diffad_export.train import TrainPaths, TrainSummary, train
from diffad_export.variants import of_families
from diffad_runtime.errors import InputError

__all__ = [
    "ablate",
    "demo",
    "explain_run",
    "export_run",
    "reference_timing",
    "run_lineup",
    "teacher_contestant",
    "teacher_timing",
    "train_teacher",
]


def train_teacher(
    *,
    data: Path,
    out: Path,
    preset: str,
    backbone: str | None,
    size: int | None,
    max_minutes: float | None,
    resume: bool,
    seed: int,
    backbone_weights: Path | None,
    same_size: bool,
    device: str,
    learning_rate: float | None = None,
    batch: int | None = None,
    steps: int | None = None,
    rotation: float | None = None,
    flips: bool = False,
    conditional: bool = True,
    init_weights: Path | None = None,
    settings: Sequence[str] = (),
    bf16: str = "auto",
) -> TrainSummary:
    """`diffad-edge train`.

    Raises:
        InputError: an option that does not fit; otherwise as `train`.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}", mend=f"Choose from: {', '.join(PRESETS)}")
    base = PRESETS[preset]
    limits = {"max_minutes": max_minutes, "learning_rate": learning_rate, "batch": batch, "steps": steps}
    try:
        config = TrainConfig.model_validate(
            base.model_dump()
            | _given({"size": size, "backbone": backbone, "seed": seed})
            | {
                "optimiser": base.optimiser.model_dump() | _given(limits),
                "teacher": base.teacher.model_dump() | {"bf16": bf16, "conditional": conditional},
                "augment": base.augment.model_dump() | _given({"rotation_degrees": rotation, "flips": flips or None}),
            }
        )
    except ValidationError as error:
        raise _wrong_option(error) from None
    config = changed(config, dict(map(_setting, settings)), "--set")
    if init_weights is not None and config.teacher.network != "paper":
        raise InputError("--init-weights takes a checkpoint of the paper's network", mend="Add --preset paper")
    return train(
        data,
        out,
        config,
        resume=resume,
        device=device,
        same_size=same_size,
        paths=TrainPaths(backbone_weights, init_weights),
    )


def export_run(
    *,
    run: Path,
    data: Path,
    out: Path,
    steps: Sequence[int] | None,
    precision: str,
    width: Sequence[int] | None,
    max_minutes: float | None,
    max_aupro_drop: float,
    false_reject_rate: float,
    seed: int,
    device: str,
    category: str | None = None,
    feature_score: str | None = None,
    variance_floor: float | None = None,
    alpha: float | None = None,
    shared: bool | None = None,
    draws: int | None = None,
    pasted: float | None = None,
    settings: Sequence[str] = (),
    qat: str = "auto",
    target: str = "cpu,tensorrt",
    ranges: str = ESTIMATOR,
    labelled: Path | None = None,
    fallback: bool = True,
    sensitivity: bool = False,
    budget_ms: float | None = None,
    frame_size: tuple[int, int] | None = None,
    watch: Watch | None = None,
) -> ExportSummary:
    """`diffad-edge export`.

    Args:
        steps, width: one each without a budget; with one, those to choose from, None for all.
        settings: KEY=VALUE of DistilConfig.
        qat: when INT8 gets its finish: auto (where a gate refuses it), on, off.
        precision, target: by comma; of FAMILIES or variants, and of cpu, tensorrt.
        ranges: an estimator of INT8 ranges.
        labelled: data with real defects that the AUPRO gate looks at.
        fallback: keep the worst layers of a variant that a gate refuses out of INT8.
        sensitivity: measure every layer in any case.
        budget_ms: search for the best student that keeps it.
        frame_size: (H, W) that the budget is for; None: the input size.

    Raises:
        InputError: an option that does not fit; otherwise as `export` and `search_export`.
    """
    if ranges not in ESTIMATORS:
        raise InputError(f"unknown --ranges {ranges!r}", mend=f"Choose from: {', '.join(ESTIMATORS)}")
    default = DistilConfig()
    distil = {"seed": seed, "shared": shared, "pasted": pasted, "variance_floor": variance_floor}
    score = {"feature_score": feature_score, "alpha": alpha, "draws": draws}
    finish = _finish(qat)
    try:
        optimiser = OptimiserConfig.model_validate(default.optimiser.model_dump() | {"max_minutes": max_minutes})
        base = default.model_dump() | _given(distil) | {"chain_steps": None, "optimiser": optimiser.model_dump()}
        if budget_ms is None:
            base |= {"steps": _single("steps", steps, default.steps), "width": _single("width", width, default.width)}
        options = ExportOptions(
            distil=changed(DistilConfig.model_validate(base), dict(map(_setting, settings)), "--set"),
            score=ScoreConfig.model_validate(STUDENT_SCORE.model_dump() | _given(score)),
            thresholds=ThresholdConfig(false_reject_rate=false_reject_rate),
            category=category,
            precisions=tuple(of_families(_listed(precision), _listed(target))),
            max_aupro_drop=max_aupro_drop,
            device=device,
            labelled=labelled,
            estimator=ranges,
            fallback=fallback,
            sensitivity=sensitivity,
            finish=finish,
        )
    except ValidationError as error:
        raise _wrong_option(error) from None
    if budget_ms is None:
        if frame_size is not None:
            raise InputError("--frame-size says what a budget is for", mend="Add --budget-ms, or leave it out")
        return export(run, data, out, options)
    if taken := {"steps", "width"}.intersection(path for path, _ in map(_setting, settings)):
        raise InputError(f"--set {min(taken)} is what a search chooses", mend=f"Use --{min(taken)}")
    chosen_from = _given({"steps": steps, "widths": width})
    timed = tuple(name for name in PRECISIONS if name in options.precisions)
    wanted = SearchOptions(budget_ms, precisions=timed, frame_size=frame_size, **chosen_from)
    return search_export(run, data, out, options, wanted, watch)


def _listed(text: str) -> list[str]:
    """ "fp32, int8" becomes ["fp32", "int8"]."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _finish(qat: str) -> Finish:
    for choice in get_args(Finish):
        if qat == choice:
            made: Finish = choice
            return made
    raise InputError(f"unknown --qat {qat!r}", mend=f"Choose from: {', '.join(get_args(Finish))}")


def _single(name: str, given: Sequence[int] | None, default: int) -> int:
    if given is None:
        return default
    if len(given) != 1:
        raise InputError(
            f"--{name} names {len(given)} values, expected one", mend="Name one, or add --budget-ms to choose the best"
        )
    return given[0]


def _setting(text: str) -> tuple[str, Any]:
    """ "score.draws=4" -> path and value; the value as JSON where it is that, else as text."""
    path, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text!r} names no value", mend="Write it as in --set score.draws=4")
    try:
        return path, json.loads(value)
    except ValueError:
        return path, value


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Without those that were left to the preset."""
    return {name: value for name, value in options.items() if value is not None}


def _wrong_option(error: ValidationError) -> InputError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return InputError(f"{name}: {first['msg']}, got {first['input']!r}", mend="Change this option")
