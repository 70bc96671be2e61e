"""`train`: from a folder of good images to a run folder with a teacher that can score."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffad_calibration.dataset import open_dataset
from diffad_calibration.loading import LoadedImages, load_images
from diffad_export.backbone import load_backbone
from diffad_export.checkpoint import write_json
from diffad_export.config import ScoreConfig, TrainConfig
from diffad_export.device import pick_device
from diffad_export.fitting import choose_alpha, normal_statistics, paste_set
from diffad_export.provenance import package_versions
from diffad_export.runfolder import Run, open_run, parameter_count, save_score, save_teacher, split_good
from diffad_export.training.teacher import fit_teacher
from diffad_runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """How a training ended; `losses` are (first logged, last logged)."""

    run: Path
    steps: int
    minutes: float
    losses: tuple[float, float]
    parameters: int
    good_images: int
    held_back: int
    alpha: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "run": str(self.run),
            "steps": self.steps,
            "minutes": round(self.minutes, 2),
            "first_loss": self.losses[0],
            "last_loss": self.losses[1],
            "parameters": self.parameters,
            "good_images": self.good_images,
            "held_back": self.held_back,
            "alpha": self.alpha,
        }


def train(
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    device: str = "auto",
    same_size: bool = False,
    backbone_weights: Path | None = None,
) -> TrainSummary:
    """Train a teacher on the good images of `data`.

    Raises:
        DataError: the folder does not hold what is needed.
        InputError: `out` already holds a run and `resume` is off, or holds a run with another configuration; a backbone
            that cannot be loaded.
    """
    place = pick_device(device)
    dataset = open_dataset(data, same_size=same_size)
    good = load_images(dataset.train_good, config.size)
    split = split_good(good, config)
    weights = backbone_weights.resolve() if backbone_weights else None
    # Before the folder is claimed: a backbone that cannot be loaded must leave no run behind.
    extractor = load_backbone(config.backbone, weights)
    _claim(out, config, weights, good, resume=resume)
    write_json(
        out / "config.json",
        {
            "config": config.model_dump(mode="json"),
            "dataset": dataset.name,
            "data_digest": split.digest,
            "good_images": len(good.array),
            "held_back": split.held_names,
            "backbone_weights": str(weights) if weights else None,
            "versions": package_versions(),
        },
    )
    run = open_run(out)
    cache = run.feature_cache(split, extractor)
    teacher, outcome = fit_teacher(config, cache, out, place, resume=resume)
    parameters = parameter_count(teacher)
    save_teacher(
        out, teacher, cache.norm, {"steps": outcome.step, "seconds": outcome.seconds, "parameters": parameters}
    )
    alpha = fit_score(run, split.held, ScoreConfig())
    losses = (outcome.losses[0][1], outcome.losses[-1][1])
    return TrainSummary(
        out, outcome.step, outcome.seconds / 60, losses, parameters, len(good.array), len(split.held), alpha
    )


def fit_score(run: Run, held: Any, score: ScoreConfig) -> float:
    """Measure the teacher's normal statistics, choose its fusion weight, store both; gives the weight."""
    extractor, teacher = run.extractor(), run.teacher()
    statistics = normal_statistics(run.bare_reconstructor(teacher, score), extractor, held)
    model = run.bare_reconstructor(teacher, score, statistics)
    alpha, table = choose_alpha(model, extractor, paste_set(held, seed=run.config.seed))
    save_score(run.folder, statistics, alpha, table)
    return alpha


def _claim(out: Path, config: TrainConfig, weights: Path | None, good: LoadedImages, *, resume: bool) -> None:
    if not (out / "config.json").exists():
        out.mkdir(parents=True, exist_ok=True)
        return
    if not resume:
        raise InputError(f"{out} already holds a run", mend="Add --resume to go on with it, or choose another --out")
    before = open_run(out)
    # Limits may grow between sittings; everything else must stay, or the run would not be one run.
    if _without_limits(config) != _without_limits(before.config) or weights != before.backbone_weights:
        raise InputError(f"{out} was begun with other settings", mend="Resume with the options of the first sitting")
    before.split(good)  # raises where the images are others


def _without_limits(config: TrainConfig) -> TrainConfig:
    optimiser = config.optimiser.model_copy(update={"steps": 1, "max_minutes": None})
    return config.model_copy(update={"optimiser": optimiser})
