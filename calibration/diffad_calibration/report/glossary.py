"""What each figure of a report means, in one or two sentences a reader can check.

Knows names and definitions only; the figures are computed in diffad_calibration.metrics.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the detection table: its key in ModelRow.metrics, its heading, what it means."""

    key: str
    label: str
    meaning: str


METRICS = (
    Metric(
        "aupro_30",
        "AUPRO@0.3",
        "Per-region overlap (the mean share of each defect region that lies above the threshold), averaged over "
        "thresholds up to a pixel false positive rate of 0.3. Small and large defects weigh the same.",
    ),
    Metric(
        "aupro_05",
        "AUPRO@0.05",
        "The same, up to a pixel false positive rate of 0.05: closer to where a line can work.",
    ),
    Metric(
        "pixel_auroc",
        "Pixel AUROC",
        "Chance that a random defect pixel scores higher than a random normal pixel. Large defects dominate.",
    ),
    Metric(
        "pixel_ap",
        "Pixel AP",
        "Area under the precision-recall curve of all pixels. Strict where defects are small.",
    ),
    Metric(
        "image_auroc",
        "Image AUROC",
        "Chance that a random defective part scores higher than a random good part. 0.5 is guessing.",
    ),
    Metric(
        "image_ap",
        "Image AP",
        "Area under the precision-recall curve of the image scores. Depends on the share of defective parts.",
    ),
    Metric(
        "f1_max",
        "F1-max",
        "Best harmonic mean of precision and recall over all image thresholds. The threshold is chosen on the test "
        "images, so this is an upper bound, not what the shipped threshold reaches.",
    ),
)

PIXEL_COLUMN = "Pixel KL"
FEATURE_COLUMN = "Feature residual"
FUSED_COLUMN = "Fused map on the image"

COLUMN_MEANINGS = (
    ("Image", "The frame as the camera gave it."),
    ("Truth", "The marked defect, white. Good parts have none."),
    (
        PIXEL_COLUMN,
        "Divergence between the denoising step the model expects of a good part and the one this frame asks for, "
        "in standard deviations of good parts.",
    ),
    (
        FEATURE_COLUMN,
        "How far the features predicted for a good part lie from the features of this frame, "
        "in standard deviations of good parts.",
    ),
    (
        FUSED_COLUMN,
        "Weighted sum of the two, laid over the frame; the outline is the mask that the pixel threshold cuts out.",
    ),
)

INTERVAL_MEANING = (
    "Small print",
    "Interval of the figure: good and defective images are drawn anew, with replacement, and the figure is measured "
    "each time. It says how far the figure depends on which images were there, not on the training's seed.",
)
VERDICT_MEANING = (
    "OK, NG, ERROR",
    "Good part; anomalous part; no judgement could be made, which a line must treat as a reject.",
)


def meanings(*, figures: bool, pictures: bool) -> list[tuple[str, str]]:
    """What the page explains at its end: names with their meanings."""
    rows: list[tuple[str, str]] = []
    if figures:
        rows += [(metric.label, metric.meaning) for metric in METRICS]
        rows.append(INTERVAL_MEANING)
    if pictures:
        rows += COLUMN_MEANINGS
    return [*rows, VERDICT_MEANING]
