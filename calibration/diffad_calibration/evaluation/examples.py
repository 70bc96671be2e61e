"""Which test frames are worth a picture: for each kind of defect a typical find and the worst miss; the worst false
alarm and a typical good part. Knows scores and labels; the pictures' look belongs to report/.
"""

import numpy as np
import numpy.typing as npt

from diffad_calibration.evaluation.runner import ClassResult
from diffad_calibration.report.data import Example
from diffad_runtime.engines.base import Engine
from diffad_runtime.manifest import Manifest
from diffad_runtime.masks import defect_mask


def pick_rows(result: ClassResult, scores: npt.NDArray[np.float64], most: int = 12) -> list[int]:
    """Rows of the test set to show, at most `most`, defects first."""
    rows: list[int] = []
    kinds = sorted({kind for kind, label in zip(result.kinds, result.labels, strict=True) if label})
    for rank in (0.5, 0.0, 0.8):
        for kind in kinds:
            rows.append(_at_rank(scores, np.array([k == kind for k in result.kinds]), rank))
    good = result.labels == 0
    tail = [_at_rank(scores, good, 1.0), _at_rank(scores, good, 0.5)] if good.any() else []
    unique = list(dict.fromkeys(rows))[: most - len(tail)]
    return unique + tail


def _at_rank(scores: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_], rank: float) -> int:
    rows = np.flatnonzero(chosen)
    order = rows[np.argsort(scores[rows], kind="stable")]
    return int(order[round(rank * (len(order) - 1))])


def make_examples(
    result: ClassResult, rows: list[int], engine: Engine, manifest: Manifest, model: str
) -> list[Example]:
    """Run the engine on the rows chosen and keep every part of the answer."""
    size, thresholds = manifest.input_size, manifest.thresholds
    examples = []
    for row in rows:
        raw = engine.infer(result.images[row])
        score = float(result.models[model].scores[row])
        examples.append(
            Example(
                name=result.names[row],
                kind=result.kinds[row],
                image=result.images[row],
                truth=result.masks[row],
                pixel=raw.pixel,
                feature=raw.feature,
                fused=raw.anomaly,
                mask=defect_mask(raw.anomaly, thresholds.pixel, manifest.min_defect_pixels, size, size),
                score=score,
                threshold=thresholds.image,
                verdict="NG" if score > thresholds.image else "OK",
            )
        )
    return examples
