"""What `export` is asked for."""

from dataclasses import dataclass, field

from diffad_export.config import STUDENT_SCORE, DistilConfig, ScoreConfig, ThresholdConfig
from diffad_export.finishing import Finish


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `export` is asked for.

    Attributes:
        category: which one of a run that knows several; None where the data hold only one.
        finish: fine-tuning of the INT8 variant with fake quantisation: where a gate refuses it, always, never.
    """

    distil: DistilConfig = field(default_factory=DistilConfig)
    score: ScoreConfig = STUDENT_SCORE
    thresholds: ThresholdConfig = field(default_factory=ThresholdConfig)
    category: str | None = None
    precisions: tuple[str, ...] = ("fp32", "int8")
    max_aupro_drop: float = 0.005
    device: str = "auto"
    finish: Finish = "auto"
