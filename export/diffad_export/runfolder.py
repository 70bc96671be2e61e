"""A training run on disk: what lies where, and how it is opened again.

    RUN/config.json                resolved TrainConfig, data digest, held-back names, versions, parameter count
    RUN/teacher.safetensors        averaged (EMA) weights
    RUN/teacher-score.json         normal statistics and fusion weight of the teacher
    RUN/teacher-checkpoint...      to resume from; RUN/teacher-log.jsonl: losses
    RUN/cache/                     features and teacher targets; may be deleted, is made again
    RUN/student-<digest>/          one folder per distillation setting

Knows names and formats. Does not train or score.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from diffad_calibration.loading import LoadedImages
from diffad_export.backbone import Extractor, load_backbone
from diffad_export.checkpoint import load_tensors, read_json, save_tensors, write_json
from diffad_export.config import ScoreConfig, TrainConfig
from diffad_export.feature_cache import FeatureCache, build_feature_cache
from diffad_export.networks.teacher import Teacher
from diffad_export.reconstructor import FeatureNorm, Reconstructor, fixed_noise, levels_of
from diffad_export.score import NormalStatistics
from diffad_export.training.teacher import make_teacher
from diffad_runtime.errors import DataError, InputError
from diffad_runtime.result import Image

LEAST_GOOD = 8
NOISE_SEED = 20_231


@dataclass(frozen=True, slots=True)
class Split:
    """Good images in two parts, each uint8 (N, S, S, 3): trained on, and held back for statistics and thresholds."""

    train: Image
    held: Image
    held_names: list[str]
    digest: str


def split_good(good: LoadedImages, config: TrainConfig) -> Split:
    """Split by a permutation seeded with the run's seed.

    Raises:
        DataError: fewer than 8 good images.
    """
    count = len(good.array)
    if count < LEAST_GOOD:
        raise DataError(
            f"{count} good images are too few to train on, at least {LEAST_GOOD} are needed",
            mend="Add good images; a few hundred is usual",
        )
    held = min(max(4, round(config.holdback * count)), count // 2)
    order = np.random.default_rng(config.seed).permutation(count)
    back, front = np.sort(order[:held]), np.sort(order[held:])
    digest = hashlib.sha256(good.array.tobytes()).hexdigest()
    return Split(good.array[front], good.array[back], [good.names[i] for i in back], digest)


@dataclass(frozen=True, slots=True)
class Run:
    """An opened run: configuration, teacher, and what belongs to it."""

    folder: Path
    config: TrainConfig
    facts: dict[str, Any]
    backbone_weights: Path | None

    @property
    def cache_folder(self) -> Path:
        """Where features and targets are kept."""
        return self.folder / "cache"

    def extractor(self) -> Extractor:
        """The frozen backbone of this run."""
        return load_backbone(self.config.backbone, self.backbone_weights)

    def split(self, good: LoadedImages) -> Split:
        """Split good images as in training.

        Raises:
            DataError: these are not the images that the teacher was trained on.
        """
        split = split_good(good, self.config)
        if split.digest != self.facts["data_digest"]:
            raise DataError(
                f"the {len(good.array)} good images differ from those that {self.folder} was trained on",
                mend="Give the same --data as in training, or train again",
            )
        return split

    def feature_cache(self, split: Split, extractor: Extractor) -> FeatureCache:
        """The cache of the training images; made again where it was deleted."""
        return build_feature_cache(
            self.cache_folder,
            split.train,
            extractor,
            self.config.augment,
            seed=self.config.seed,
            data_digest=split.digest,
        )

    def norm(self) -> FeatureNorm:
        """Channel statistics of the training features, as stored with the teacher."""
        tensors, _ = load_tensors(self.folder / "teacher.safetensors")
        return FeatureNorm(tensors["feature_mean"], tensors["feature_std"])

    def teacher(self) -> Teacher:
        """The trained teacher in eval mode.

        Raises:
            InputError: no finished teacher in this folder.
        """
        tensors, _ = load_tensors(self.folder / "teacher.safetensors")
        norm_keys = {"feature_mean", "feature_std"}
        teacher = make_teacher(self.config.teacher, len(tensors["feature_mean"]))
        teacher.load_state_dict({k: v for k, v in tensors.items() if k not in norm_keys})
        return teacher.eval()

    def teacher_reconstructor(self, score: ScoreConfig) -> Reconstructor:
        """The teacher at its scoring levels, with its frozen statistics and fusion weight."""
        fitted = read_json(self.folder / "teacher-score.json")
        statistics = NormalStatistics(**{k: tuple(v) for k, v in fitted["statistics"].items()})
        return self.bare_reconstructor(self.teacher(), score, statistics, fitted["alpha"])

    def bare_reconstructor(
        self, teacher: Teacher, score: ScoreConfig, statistics: NormalStatistics | None = None, alpha: float = 0.5
    ) -> Reconstructor:
        """`teacher` at the scoring levels of this run's configuration."""
        steps = self.config.teacher.chain_steps
        return Reconstructor(
            teacher,
            self.norm(),
            levels_of(steps),
            fixed_noise(len(steps), self.config.size, NOISE_SEED),
            kind=score.feature_score,
            alpha=alpha,
            sigma=score.smoothing * self.config.size,
            statistics=statistics,
        ).eval()


def save_teacher(folder: Path, teacher: Teacher, norm: FeatureNorm, facts: dict[str, Any]) -> None:
    """Write the averaged weights, with the feature statistics that they were trained on."""
    tensors = dict(teacher.state_dict()) | {"feature_mean": norm.mean, "feature_std": norm.std}
    save_tensors(folder / "teacher.safetensors", tensors, facts)


def save_score(folder: Path, statistics: NormalStatistics, alpha: float, table: dict[float, float]) -> None:
    """Write what was fitted on good images."""
    value = {
        "statistics": asdict(statistics),
        "alpha": alpha,
        "aupro_on_pasted_defects": {str(k): v for k, v in table.items()},
    }
    write_json(folder / "teacher-score.json", value)


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
        return Run(folder, config, value, weights)
    except (ValidationError, KeyError, TypeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"{folder}/config.json is not usable: {first}", mend="Train again with this version") from None


def parameter_count(module: torch.nn.Module) -> int:
    """Trainable numbers of a network."""
    return sum(p.numel() for p in module.parameters())
