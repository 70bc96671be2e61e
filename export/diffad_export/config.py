"""What the user can choose, as pydantic models: training, distillation, export. The presets are one table.

Knows names, types and limits. Does not read files or command lines.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from diffad_export.score import FeatureScore


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentConfig(_Strict):
    """Seeded copies of each training image, made once, so that their features can be cached.

    `copies` is an upper limit; fewer are made where the feature cache would pass `cache_gb`.
    """

    copies: int = Field(default=7, ge=0, le=63)
    rotation_degrees: float = Field(default=5.0, ge=0, le=180)
    brightness: float = Field(default=0.0, ge=0, le=0.5, description="relative gain, uniform in +-")
    flips: bool = False
    cache_gb: float = Field(default=2.0, gt=0)


class OptimiserConfig(_Strict):
    """AdamW with warm-up, then annealing to zero."""

    learning_rate: float = Field(default=5e-4, gt=0)
    anneal: Literal["cosine", "linear"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.997, ge=0, lt=1)
    batch: int = Field(default=8, ge=1)
    steps: int = Field(default=6000, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)


class TeacherConfig(_Strict):
    """Network and objective of the teacher (METHOD: Lu et al., ICCV 2023, section 3)."""

    width: int = Field(default=64, ge=16, multiple_of=16)
    multipliers: tuple[int, ...] = (1, 2, 3, 3)
    blocks: int = Field(default=1, ge=1)
    prediction: Literal["x0", "eps"] = "eps"
    max_timestep: int = Field(default=450, ge=1, le=1000, description="levels above are never scored: not trained")
    chain_steps: tuple[int, ...] = (5, 50, 100)
    bf16: Literal["auto", "on", "off"] = "auto"


class TrainConfig(_Strict):
    """Everything that decides a training run; stored in RUN/config.json."""

    size: int = Field(default=256, ge=64, le=1024, multiple_of=32)
    backbone: str = "efficientnet_lite0"
    seed: int = Field(default=0, ge=0)
    holdback: float = Field(default=0.2, gt=0, lt=0.9, description="share of good images kept for calibration")
    augment: AugmentConfig = AugmentConfig()
    teacher: TeacherConfig = TeacherConfig()
    optimiser: OptimiserConfig = OptimiserConfig()


class DistilConfig(_Strict):
    """The one-step student: its width, its level, its optimiser."""

    width: int = Field(default=48, ge=8, multiple_of=8)
    chain_step: int = Field(default=50, ge=1, le=249, description="step of the 250-step chain; 50 is t = 201")
    draws: int = Field(default=4, ge=1, description="noise draws averaged in the teacher's targets")
    teacher_weight: float = Field(default=1.0, ge=0)
    truth_weight: float = Field(default=1.0, ge=0)
    seed: int = Field(default=0, ge=0)
    optimiser: OptimiserConfig = OptimiserConfig(steps=5000, learning_rate=1e-3)


class ScoreConfig(_Strict):
    """How maps become scores and thresholds. `alpha` None: chosen on good images with pasted defects."""

    feature_score: FeatureScore = "likelihood"
    alpha: float | None = Field(default=None, ge=0, le=1)
    smoothing: float = Field(default=1 / 64, ge=0, description="Gaussian sigma as a share of the input side")
    top_pixels: int = Field(default=64, ge=1)
    false_reject_rate: float = Field(default=0.01, gt=0, lt=1)
    pixel_rate: float = Field(default=0.001, gt=0, lt=1)


PRESETS: dict[str, TrainConfig] = {"compact": TrainConfig()}
