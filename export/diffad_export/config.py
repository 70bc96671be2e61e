"""What the user can choose, as pydantic models: training, distillation, export. The presets are one table.

Knows names, types and limits. Does not read files or command lines.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from diffad_export.score import FeatureScore
from diffad_export.widths import WIDTHS


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FeatureConfig(_Strict):
    """Which features are predicted: strides of the backbone, and the grid that they are brought to.

    The paper's ablation (its Table 2): grids of S/16, S/8, S/4, and fewer strides.
    """

    strides: tuple[Literal[2, 4, 8, 16], ...] = Field(default=(2, 4, 8, 16), min_length=1)
    grid_stride: Literal[4, 8, 16] = Field(default=4, description="a grid of S / grid_stride cells a side")

    @field_validator("strides")
    @classmethod
    def _in_order(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if list(strides) != sorted(set(strides)):
            raise ValueError("strides must grow, each named once")
        return strides


class AugmentConfig(_Strict):
    """Seeded copies of each training image, made once, so that their features can be cached.

    As many copies are made as `samples` asks for, fewer where the feature cache would pass `cache_gb`.
    """

    samples: int = Field(default=1280, ge=1, description="training images with copies, in all")
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
    """Network and objective of the teacher (METHOD: Lu et al., ICCV 2023, section 3).

    `network` "compact" works on blocks of 4 x 4 pixels, with `widths` channels from the grid of S / 4 downwards.
    "paper" is the 256 x 256 UNet of guided diffusion: `widths` are those of its levels from the full picture downwards.
    """

    network: Literal["compact", "paper"] = "compact"
    widths: tuple[int, ...] = Field(default=(48, 96, 192, 256), min_length=1)
    blocks: int = Field(default=1, ge=1, description="residual blocks a level")
    prediction: Literal["x0", "eps"] = "eps"
    conditional: bool = Field(default=True, description="told the category, where there are several")
    drop_label: float = Field(default=0.1, ge=0, le=1, description="share of images whose category is not said")
    max_timestep: int = Field(default=450, ge=1, le=1000, description="levels above are never scored: not trained")
    checkpointing: bool = Field(default=False, description="compute activations anew in the backward pass")
    bf16: Literal["auto", "on", "off"] = "auto"

    @model_validator(mode="after")
    def _fits_the_network(self) -> Self:
        if self.network == "paper" and self.prediction != "eps":
            raise ValueError("the paper's network predicts eps")
        least = 32 if self.network == "paper" else 16
        if any(width <= 0 or width % least for width in self.widths):
            raise ValueError(f"widths of the {self.network} network are multiples of {least}")
        return self


class ScoreConfig(_Strict):
    """How the teacher's answers become a map. `alpha` None: chosen on good images with pasted defects.

    The paper's own: residual, levels 5, 50, 100, alpha 0.5, no smoothing, 64 pixels.
    """

    chain_steps: tuple[Annotated[int, Field(ge=1, le=249)], ...] = Field(
        default=(5, 50, 100), min_length=1, description="levels, as steps of the 250-step chain; 50 is t = 201"
    )
    draws: int = Field(default=1, ge=1, le=64, description="noise draws per level, in antithetic pairs")
    feature_score: FeatureScore = "whitened"
    variance_floor: float = Field(
        default=0.2, ge=0, description="noise that each standardised feature is taken to be seen with, as a variance"
    )
    per_location: bool = Field(default=False, description="statistics of normal images at each location")
    weights: Literal["equal", "fitted"] = Field(default="equal", description="of strides, levels and terms")
    alpha: float | None = Field(default=0.0, ge=0, le=1, description="weight of the pixel KL")
    smoothing: float = Field(default=1 / 64, ge=0, le=0.25, description="Gaussian sigma as a share of the input side")
    top_pixels: int = Field(default=64, ge=1, description="image score: mean of so many largest values; 1 = maximum")


class TrainConfig(_Strict):
    """Everything that decides a training run; stored in RUN/config.json."""

    size: int = Field(default=256, ge=64, le=1024, multiple_of=32)
    backbone: str = "efficientnet_lite0"
    seed: int = Field(default=0, ge=0)
    holdback: float = Field(default=0.2, gt=0, lt=0.9, description="share of good images kept for calibration")
    features: FeatureConfig = FeatureConfig()
    augment: AugmentConfig = AugmentConfig()
    teacher: TeacherConfig = TeacherConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    score: ScoreConfig = ScoreConfig()


class LossConfig(_Strict):
    """Weights of what a student learns from; 0 leaves a term out. Log-variances always learn from its own errors.

    The default is what the table of controls supports (NOTES.md): the teacher's answers and maps added nothing to the
    truth, so they are left out.
    """

    truth: float = Field(default=1.0, ge=0, description="features and pixels of the clean image")
    teacher: float = Field(default=0.0, ge=0, description="the teacher's answer, averaged over noise")
    consistency: float = Field(default=0.0, ge=0, description="answers at one level as at the next cleaner one")
    map: float = Field(default=0.0, ge=0, description="the teacher's fused map, on pasted defects")


class DistilConfig(_Strict):
    """The student: its levels, its width, what it learns from, its optimiser."""

    steps: Literal[1, 2, 4] = Field(default=1, description="noise levels, a network evaluation each")
    chain_steps: tuple[Annotated[int, Field(ge=0, le=249)], ...] | None = Field(
        default=(50,), description="levels, steps of the 250-step chain; None: chosen on pasted defects"
    )
    shared: bool = Field(default=False, description="one network for all levels")
    width: int = 48
    draws: int = Field(default=4, ge=1, description="noise draws averaged in the teacher's targets")
    pasted: float = Field(default=0.5, ge=0, le=1, description="share of training images shown with a pasted defect")
    variance_floor: float = Field(
        default=0.1, ge=0, description="noise that each standardised feature is taken to be seen with, as a variance"
    )
    losses: LossConfig = LossConfig()
    halvings: int = Field(
        default=0, ge=0, le=6, description="rounds of progressive halving, from a DDIM chain of steps * 2^halvings"
    )
    seed: int = Field(default=0, ge=0)
    optimiser: OptimiserConfig = OptimiserConfig(steps=5000, learning_rate=1e-3)

    @field_validator("width")
    @classmethod
    def _in_table(cls, width: int) -> int:
        if width not in WIDTHS:
            raise ValueError(f"choose from {', '.join(map(str, WIDTHS))}")
        return width

    @model_validator(mode="after")
    def _one_level_a_step(self) -> Self:
        if self.chain_steps is not None and not len(set(self.chain_steps)) == len(self.chain_steps) == self.steps:
            raise ValueError(f"{self.steps} steps need as many different chain_steps, or none to have them chosen")
        if self.halvings and self.losses.teacher == 0:
            raise ValueError("halvings need a weight of the teacher above 0")
        if self.halvings and (self.losses.map or self.losses.consistency):
            raise ValueError("halvings cannot be joined with losses.map or losses.consistency")
        return self


class ThresholdConfig(_Strict):
    """What the thresholds may cost, as shares of good parts and of good pixels."""

    false_reject_rate: float = Field(default=0.001, gt=0, lt=1)
    pixel_rate: float = Field(default=0.001, gt=0, lt=1)


# Whitening amplifies what INT8 rounds and clips (NOTES.md), so the student ships without it. Its variances hold the
# floor by training: the graph is spared a logarithm of every feature.
STUDENT_SCORE = ScoreConfig(feature_score="likelihood", variance_floor=0, alpha=0)
PAPER_SCORE = ScoreConfig(feature_score="residual", alpha=0.5, smoothing=0)

PRESETS: dict[str, TrainConfig] = {
    "compact": TrainConfig(),
    "paper": TrainConfig(
        backbone="efficientnet_b4",
        teacher=TeacherConfig(
            network="paper",
            widths=(256, 256, 512, 512, 1024, 1024),
            blocks=2,
            max_timestep=1000,
            checkpointing=True,
        ),
        optimiser=OptimiserConfig(
            learning_rate=1e-4, anneal="linear", warmup_steps=0, weight_decay=0, batch=2, steps=10_000
        ),
        score=PAPER_SCORE,
    ),
}
