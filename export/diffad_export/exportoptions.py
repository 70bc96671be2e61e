"""What `export` is asked for."""

from dataclasses import dataclass, field
from pathlib import Path

from diffad_calibration.precision.variants import ESTIMATOR
from diffad_export.config import STUDENT_SCORE, DistilConfig, ScoreConfig, ThresholdConfig
from diffad_export.finishing import Finish


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `export` is asked for.

    Attributes:
        category: which one of a run that knows several; None where the data hold only one.
        labelled: data with real defects that AUPRO is judged on; None: pasted defects.
        estimator: of INT8 ranges.
        fallback: keep the worst layers of an INT8 variant that a gate refuses out of it.
        sensitivity: look at every layer of INT8 variants in any case, for the provenance.
        finish: fine-tuning of the INT8 variant with fake quantisation: where a gate refuses it, always, never.
    """

    distil: DistilConfig = field(default_factory=DistilConfig)
    score: ScoreConfig = STUDENT_SCORE
    thresholds: ThresholdConfig = field(default_factory=ThresholdConfig)
    category: str | None = None
    precisions: tuple[str, ...] = ("fp32", "int8")
    max_aupro_drop: float = 0.005
    device: str = "auto"
    labelled: Path | None = None
    estimator: str = ESTIMATOR
    fallback: bool = True
    sensitivity: bool = False
    finish: Finish = "auto"
