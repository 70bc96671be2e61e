"""A training run on disk: what lies where, and how it is opened again.

    RUN/config.json                resolved TrainConfig, categories with data digest and held-back names, versions
    RUN/teacher.safetensors        averaged (EMA) weights
    RUN/scores/<category>.safetensors    normal statistics, weights and thresholds of the teacher, per category
    RUN/teacher-checkpoint...      to resume from; RUN/teacher-log.jsonl: losses
    RUN/cache/                     features and teacher targets; may be deleted, is made again
    RUN/student-<digest>/          one folder per distillation setting

Knows names and formats. Does not train or score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffad_calibration.dataset import Dataset
from diffad_export.backbone import Extractor, load_backbone
from diffad_export.checkpoint import load_tensors, read_json, save_tensors
from diffad_export.config import ScoreConfig, TrainConfig
from diffad_export.denoiser import Denoiser
from diffad_export.distributed import World
from diffad_export.feature_cache import FeatureCache, build_feature_cache
from diffad_export.grids import GridLayout
from diffad_export.networks import make_teacher
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import FittedScore
from diffad_export.scorefile import CategoryScore, load_category_score
from diffad_export.split import Split, load_split
from diffad_runtime.errors import DataError, InputError

NOISE_SEED = 20_231


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run: configuration, teacher, and what belongs to it."""

    folder: Path
    config: TrainConfig
    facts: dict[str, Any]
    backbone_weights: Path | None

    @property
    def categories(self) -> list[str]:
        """Names, in the order of their numbers."""
        return [one["name"] for one in self.facts["categories"]]

    @property
    def cache_folder(self) -> Path:
        """Where features and targets are kept."""
        return self.folder / "cache"

    def category(self, name: str) -> str:
        """The category of this run that a dataset of that name is of; a run of only one takes any name for it.

        Raises:
            DataError: the run knows several categories, and not this one.
        """
        if len(self.categories) == 1:
            return self.categories[0]
        if name not in self.categories:
            raise DataError(
                f"{self.folder} knows the categories {', '.join(self.categories)}, not {name!r}",
                mend="Name the folder of a category as in training, or train with it",
            )
        return name

    def label(self, category: str) -> int | None:
        """What the teacher is told; None where it was trained without."""
        told = self.config.teacher.conditional and len(self.categories) > 1
        return self.categories.index(category) if told else None

    def extractor(self) -> Extractor:
        """The frozen backbone of this run."""
        features = self.config.features
        return load_backbone(
            self.config.backbone,
            self.backbone_weights,
            strides=features.strides,
            grid_stride=features.grid_stride,
        )

    def split(self, dataset: Dataset) -> Split:
        """Split a category's good images as in training.

        Raises:
            DataError: these are not the images that the teacher was trained on, or an unknown category.
        """
        split = replace(load_split(dataset, self.config), name=self.category(dataset.name))
        known = {one["name"]: one["data_digest"] for one in self.facts["categories"]}
        if split.digest != known[split.name]:
            raise DataError(
                f"the {split.count} good images of {split.name} differ from those that {self.folder} was trained on",
                mend="Give the same --data as in training, or train again",
            )
        return split

    def feature_cache(self, splits: Sequence[Split], extractor: Extractor, world: World | None = None) -> FeatureCache:
        """The cache of the training images; made again where it was deleted."""
        return build_feature_cache(
            self.cache_folder,
            [split.train for split in splits],
            extractor,
            self.config.augment,
            seed=self.config.seed,
            data_digest=" ".join(split.digest for split in splits),
            world=world,
        )

    def norm(self) -> FeatureNorm:
        """Channel statistics of the training features, as stored with the teacher."""
        tensors, _ = load_tensors(self.folder / "teacher.safetensors")
        return FeatureNorm(tensors["feature_mean"], tensors["feature_std"])

    def teacher(self) -> Denoiser:
        """The trained teacher in eval mode.

        Raises:
            InputError: no finished teacher in this folder.
        """
        tensors, _ = load_tensors(self.folder / "teacher.safetensors")
        norm_keys = {"feature_mean", "feature_std"}
        teacher = make_teacher(self.config, len(tensors["feature_mean"]), len(self.categories))
        teacher.load_state_dict({k: v for k, v in tensors.items() if k not in norm_keys})
        return teacher.eval()

    def score_file(self, category: str) -> Path:
        """Where a category's fitted score lies."""
        return self.folder / "scores" / f"{category}.safetensors"

    def score(self, category: str) -> CategoryScore:
        """A category's fitted score.

        Raises:
            InputError: it is missing or broken.
        """
        return load_category_score(self.score_file(category))

    def reconstructor(
        self, teacher: Denoiser, category: str, score: ScoreConfig, fitted: FittedScore | None = None
    ) -> Reconstructor:
        """`teacher` at the levels of `score`, for one category; with neutral statistics where none are given."""
        norm, levels = self.norm(), levels_of(score.chain_steps)
        neutral = FittedScore.neutral(score.feature_score, len(levels), len(norm.mean), floor=score.variance_floor)
        return Reconstructor(
            teacher,
            norm,
            levels,
            fixed_noise(len(levels), self.config.size, NOISE_SEED, score.draws),
            fitted or neutral,
            sigma=score.smoothing * self.config.size,
            label=self.label(category),
            layout=GridLayout((self.config.features.grid_stride,), (len(norm.mean),)),
        ).eval()


def save_teacher(folder: Path, teacher: Denoiser, norm: FeatureNorm, facts: dict[str, Any]) -> None:
    """Write the averaged weights, with the feature statistics that they were trained on."""
    tensors = dict(teacher.state_dict()) | {"feature_mean": norm.mean, "feature_std": norm.std}
    save_tensors(folder / "teacher.safetensors", tensors, facts)


def open_run(folder: Path) -> Run:
    """Open what `train` made.

    Raises:
        InputError: the folder is missing, is no run, or its configuration is from another version.
    """
    if not folder.is_dir():
        raise InputError(f"no run folder {folder}", mend="Run 'diffad-edge train --data DIR --out RUN' first")
    value = read_json(folder / "config.json")
    try:
        config = TrainConfig.model_validate(value["config"])
        weights = Path(value["backbone_weights"]) if value.get("backbone_weights") else None
        run = Run(folder, config, value, weights)
        if not run.categories:
            raise KeyError("categories")
        return run
    except (ValidationError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{folder}/config.json is not usable: {first}", mend="Train again with this version") from None
