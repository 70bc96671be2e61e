"""What the command line calls in this room: options as typed in, settings checked, one library function each.

Imported lazily by the sdk, so that `--help` needs no torch. Prints nothing.
"""

from pathlib import Path

from pydantic import ValidationError

from diffad_export.config import PRESETS, DistilConfig, OptimiserConfig, ScoreConfig, TrainConfig
from diffad_export.demo import demo
from diffad_export.recipe import ExportOptions, ExportSummary, export
from diffad_export.teacher_contestant import teacher_contestant, teacher_timing
from diffad_export.train import TrainSummary, train
from diffad_runtime.errors import InputError

__all__ = ["demo", "export_run", "teacher_contestant", "teacher_timing", "train_teacher"]


def train_teacher(
    *,
    data: Path,
    out: Path,
    preset: str,
    backbone: str,
    size: int,
    max_minutes: float | None,
    resume: bool,
    seed: int,
    backbone_weights: Path | None,
    same_size: bool,
    device: str,
    learning_rate: float | None = None,
    bf16: str = "auto",
) -> TrainSummary:
    """`diffad-edge train`.

    Raises:
        InputError: an option that does not fit; otherwise as `train`.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}", mend=f"Choose from: {', '.join(PRESETS)}")
    base = PRESETS[preset]
    optimiser = base.optimiser.model_dump() | {"max_minutes": max_minutes}
    if learning_rate is not None:
        optimiser["learning_rate"] = learning_rate
    try:
        config = TrainConfig.model_validate(
            base.model_dump()
            | {"size": size, "backbone": backbone, "seed": seed}
            | {"optimiser": optimiser, "teacher": base.teacher.model_dump() | {"bf16": bf16}}
        )
    except ValidationError as error:
        raise _wrong_option(error) from None
    return train(
        data,
        out,
        config,
        resume=resume,
        device=device,
        same_size=same_size,
        backbone_weights=backbone_weights,
    )


def export_run(
    *,
    run: Path,
    data: Path,
    out: Path,
    steps: int,
    precision: str,
    width: int,
    max_minutes: float | None,
    max_aupro_drop: float,
    false_reject_rate: float,
    seed: int,
    device: str,
) -> ExportSummary:
    """`diffad-edge export`.

    Raises:
        InputError: an option that does not fit; otherwise as `export`.
    """
    if steps != 1:
        raise InputError(f"this version distils to 1 network evaluation, got --steps {steps}", mend="Use --steps 1")
    default = DistilConfig()
    try:
        optimiser = OptimiserConfig.model_validate(default.optimiser.model_dump() | {"max_minutes": max_minutes})
        options = ExportOptions(
            distil=DistilConfig(width=width, seed=seed, optimiser=optimiser),
            score=ScoreConfig(false_reject_rate=false_reject_rate),
            precisions=tuple(name.strip() for name in precision.split(",") if name.strip()),
            max_aupro_drop=max_aupro_drop,
            device=device,
        )
    except ValidationError as error:
        raise _wrong_option(error) from None
    return export(run, data, out, options)


def _wrong_option(error: ValidationError) -> InputError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return InputError(f"{name}: {first['msg']}, got {first['input']!r}", mend="Change this option")
