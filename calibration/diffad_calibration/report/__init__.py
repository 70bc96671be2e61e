"""The HTML report: tables, histograms and picture rows in one folder that opens from a file system.

Knows how results are shown. Does not know how they were measured, nor torch.
"""

from diffad_calibration.report.data import (
    Category,
    Chart,
    ClassTable,
    Curve,
    Example,
    LeadRow,
    ModelRow,
    ReportData,
    ScoreHistogram,
    TimingRow,
    VariantRow,
)
from diffad_calibration.report.page import write_report

__all__ = [
    "Category",
    "Chart",
    "ClassTable",
    "Curve",
    "Example",
    "LeadRow",
    "ModelRow",
    "ReportData",
    "ScoreHistogram",
    "TimingRow",
    "VariantRow",
    "write_report",
]
