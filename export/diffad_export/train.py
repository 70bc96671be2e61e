"""`train`: from a folder of good images to a run folder with a teacher that can score.

One category, or all categories under a folder with one teacher (the paper's unified model). The order of the steps;
under torchrun the same, with the work shared.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffad_calibration.dataset import open_datasets
from diffad_calibration.thresholds.setting import set_thresholds
from diffad_export.backbone import Extractor, load_backbone
from diffad_export.checkpoint import write_json
from diffad_export.config import ScoreConfig, ThresholdConfig, TrainConfig
from diffad_export.denoiser import Denoiser
from diffad_export.device import pick_device
from diffad_export.distributed import join_world
from diffad_export.fitting import fit_score
from diffad_export.initweights import InitReport, init_from_checkpoint
from diffad_export.maps import torch_maps
from diffad_export.networks import make_teacher
from diffad_export.networks.cost import network_cost
from diffad_export.networks.paper import PaperTeacher
from diffad_export.pasted import paste_set
from diffad_export.provenance import package_versions
from diffad_export.runfolder import Run, open_run, save_teacher
from diffad_export.scorefile import CategoryScore, save_category_score
from diffad_export.split import Split, load_split
from diffad_export.training.teacher import fit_teacher
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.scoring import image_score


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """How a training ended.

    Attributes:
        losses: first and last one logged.
        gflops: of one network evaluation, a multiply-add counting as two.
        good_images, held_back, alphas: by category.
        init_weights: what was taken from a checkpoint, tensor by tensor where it was not simply loaded.
        is_main: whether this process is the one to speak of it; the others know no alphas.
    """

    run: Path
    steps: int
    minutes: float
    losses: tuple[float, float]
    parameters: int
    gflops: float
    samples_per_second: float
    good_images: dict[str, int]
    held_back: dict[str, int]
    alphas: dict[str, float]
    is_main: bool = True
    init_weights: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "run": str(self.run),
            "steps": self.steps,
            "minutes": round(self.minutes, 2),
            "first_loss": self.losses[0],
            "last_loss": self.losses[1],
            "parameters": self.parameters,
            "gflops": round(self.gflops, 3),
            "samples_per_second": round(self.samples_per_second, 2),
            "good_images": self.good_images,
            "held_back": self.held_back,
            "alpha": self.alphas,
            "init_weights": self.init_weights,
        }


@dataclass(frozen=True, slots=True)
class TrainPaths:
    """Files that a training may be given.

    Attributes:
        backbone_weights: instead of the backbone's own.
        init_weights: a guided-diffusion checkpoint to start the paper's network from.
    """

    backbone_weights: Path | None = None
    init_weights: Path | None = None


def train(
    data: Path,
    out: Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    device: str = "auto",
    same_size: bool = False,
    paths: TrainPaths | None = None,
) -> TrainSummary:
    """Train a teacher on the good images of every category under `data`.

    Raises:
        DataError: the folder does not hold what is needed.
        InputError: `out` already holds a run and `resume` is off, or holds a run with another configuration; a backbone
            or initial weights that cannot be loaded.
    """
    paths = paths or TrainPaths()
    world = join_world(pick_device(device))
    splits = [load_split(dataset, config) for dataset in open_datasets(data, same_size=same_size)]
    weights = paths.backbone_weights.resolve() if paths.backbone_weights else None
    # Before the folder is claimed: a backbone that cannot be loaded must leave no run behind.
    features = config.features
    extractor = load_backbone(config.backbone, weights, strides=features.strides, grid_stride=features.grid_stride)
    network = make_teacher(config, sum(extractor.channels), len(splits))
    initial = _initialise(network, paths.init_weights)
    world.on_main(lambda: _claim(out, config, weights, splits, resume=resume))
    run = open_run(out)
    cache = run.feature_cache(splits, extractor, world)
    if initial is not None and world.is_main:
        write_json(out / "init-weights.json", initial.to_json())
    teacher, outcome = fit_teacher(config, cache, out, world, network, resume=resume)
    cost = network_cost(teacher, config.size)
    facts = {"steps": outcome.step, "seconds": outcome.seconds, **cost.to_json()}
    world.on_main(lambda: save_teacher(out, teacher, cache.norm, facts))
    scores: dict[str, CategoryScore] = {}
    world.on_main(lambda: scores.update({s.name: fit_category(run, extractor, s) for s in splits}))
    return TrainSummary(
        run=out,
        steps=outcome.step,
        minutes=outcome.seconds / 60,
        losses=(outcome.losses[0][1], outcome.losses[-1][1]) if outcome.losses else (float("nan"),) * 2,
        parameters=cost.parameters,
        gflops=cost.gflops,
        samples_per_second=outcome.step * config.optimiser.batch / max(outcome.seconds, 1e-9),
        good_images={split.name: split.count for split in splits},
        held_back={split.name: len(split.held) for split in splits},
        alphas={name: score.fitted.alpha for name, score in scores.items()},
        is_main=world.is_main,
        init_weights=[] if initial is None else initial.lines(),
    )


def fit_category(
    run: Run, extractor: Extractor, split: Split, score: ScoreConfig | None = None, *, keep: bool = True
) -> CategoryScore:
    """Measure the teacher's statistics of one category, set weights and thresholds.

    Args:
        score: the run's own where not given.
        keep: store it with the run.
    """
    score = score or run.config.score
    model = run.reconstructor(run.teacher(), split.name, score)
    pasted = paste_set(split.held, seed=run.config.seed)
    fit = fit_score(model, extractor, split.held, pasted, score, more=split.train)
    maps = torch_maps(extractor, model, split.held)
    how, rates = ImageScore(pixels=min(score.top_pixels, run.config.size**2)), ThresholdConfig()
    thresholds, _ = set_thresholds(
        [image_score(one, how) for one in maps],
        maps,
        false_reject_rate=rates.false_reject_rate,
        pixel_rate=rates.pixel_rate,
    )
    made = CategoryScore(score, fit.score, thresholds, fit.alphas)
    if keep:
        save_category_score(run.score_file(split.name), made)
    return made


def _initialise(network: Denoiser, path: Path | None) -> InitReport | None:
    if path is None:
        return None
    if not isinstance(network, PaperTeacher):
        raise InputError("initial weights are taken by the paper's network only", mend="Train with the preset paper")
    return init_from_checkpoint(network, path)


def _claim(out: Path, config: TrainConfig, weights: Path | None, splits: list[Split], *, resume: bool) -> None:
    categories = [
        {"name": s.name, "data_digest": s.digest, "good_images": s.count, "held_back": s.held_names} for s in splits
    ]
    if (out / "config.json").exists():
        if not resume:
            raise InputError(
                f"{out} already holds a run", mend="Add --resume to go on with it, or choose another --out"
            )
        before = open_run(out)
        # Limits may grow between sittings; everything else must stay, or the run would not be one run.
        same = _without_limits(config) == _without_limits(before.config) and weights == before.backbone_weights
        if not same:
            raise InputError(
                f"{out} was begun with other settings", mend="Resume with the options of the first sitting"
            )
        if before.facts["categories"] != categories:
            raise InputError(
                f"{out} was begun with other good images", mend="Give the same --data as in the first sitting"
            )
    out.mkdir(parents=True, exist_ok=True)
    write_json(
        out / "config.json",
        {
            "config": config.model_dump(mode="json"),
            "categories": categories,
            "backbone_weights": str(weights) if weights else None,
            "versions": package_versions(),
        },
    )


def _without_limits(config: TrainConfig) -> TrainConfig:
    optimiser = config.optimiser.model_copy(update={"steps": 1, "max_minutes": None})
    return config.model_copy(update={"optimiser": optimiser})
