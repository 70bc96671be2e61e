"""How far one way of running a model is from another, on the same frames: map, score and decision.

Pure functions over outcomes. Does not know which engine, precision or device made them, nor where the record goes.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from diffad_runtime.errors import DataError, GateError


@dataclass(frozen=True, slots=True)
class FrameOutcome:
    """What one run made of one frame: map float32 (S, S), image score, and whether the part was called NG."""

    map: npt.NDArray[np.float32]
    score: float
    ng: bool


@dataclass(frozen=True, slots=True)
class FrameParity:
    """One frame's differences, in the unit of `compare`; `flipped` where the two decisions differ."""

    map_max: float
    map_mean: float
    score: float
    flipped: bool


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences over all frames.

    Attributes:
        spread: standard deviation of all reference map values, in map units.
        map_max: largest absolute difference of any map value.
        map_mean: mean absolute difference of the map values.
        score_max: largest absolute difference of an image score.
        flips: frames whose decision differs.
        frames: per frame, in the order given.
    """

    spread: float
    map_max: float
    map_mean: float
    score_max: float
    flips: int
    frames: list[FrameParity]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and dicts, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest differences allowed, in the unit of `compare`; `flip_share` of the frames may change their decision."""

    map_max: float
    map_mean: float
    score: float
    flip_share: float


# Set at about three times the worst frame of five students (four sets at 256 px, the demo's at 128; NOTES.md):
#   fp16  map_max 0.036, map_mean 0.0048, score 0.025      int8  0.57, 0.099, 0.42      int8-fp16  0.58, 0.077, 0.32
# FP32 was 1e-5 off; its bounds leave room for the summation order, and TF32, of another machine. A decision can flip
# only where a score lies as near to the threshold as scores may differ; the share bounds how many do.
TOLERANCES = {
    "fp32": Tolerance(map_max=1e-2, map_mean=1e-3, score=1e-2, flip_share=0.0),
    "fp16": Tolerance(map_max=0.12, map_mean=0.015, score=0.08, flip_share=0.05),
    "int8": Tolerance(map_max=2.0, map_mean=0.3, score=1.25, flip_share=0.1),
    "int8-fp16": Tolerance(map_max=2.0, map_mean=0.3, score=1.25, flip_share=0.1),
}


def compare(reference: Sequence[FrameOutcome], other: Sequence[FrameOutcome]) -> Parity:
    """Measure `other` against `reference`, frame by frame.

    The unit of a difference is the spread of the reference's maps, or a quarter of the value itself where that is more:
    a score grows with the square of an error, so far above the threshold rounding is felt in proportion to the value.

    Raises:
        DataError: no frames, different numbers of frames, or maps of different shapes.
    """
    if not reference or len(reference) != len(other):
        raise DataError(
            f"parity needs the same frames twice, got {len(reference)} and {len(other)}", mend="Run both on all frames"
        )
    for index, (a, b) in enumerate(zip(reference, other, strict=True)):
        if a.map.shape != b.map.shape:
            raise DataError(
                f"frame {index} has maps of shape {a.map.shape} and {b.map.shape}", mend="Compare equal input sizes"
            )
    values = np.concatenate([outcome.map.ravel() for outcome in reference]).astype(np.float64)
    # A constant reference has no spread; its differences are then given in map units.
    spread = float(values.std()) or 1.0
    frames = []
    for a, b in zip(reference, other, strict=True):
        difference = in_units(a.map.astype(np.float64), b.map.astype(np.float64), spread)
        frames.append(
            FrameParity(
                map_max=float(difference.max()),
                map_mean=float(difference.mean()),
                score=float(in_units(np.float64(a.score), np.float64(b.score), spread)),
                flipped=a.ng != b.ng,
            )
        )
    return summary(spread, frames)


def summary(spread: float, frames: list[FrameParity]) -> Parity:
    """Figures over all frames from those of each; NaN wins."""
    return Parity(
        spread=spread,
        map_max=_worst(frame.map_max for frame in frames),
        map_mean=float(np.mean([frame.map_mean for frame in frames])),
        score_max=_worst(frame.score for frame in frames),
        flips=sum(frame.flipped for frame in frames),
        frames=frames,
    )


def check(parity: Parity, precision: str, *, called: str | None = None) -> None:
    """Hold a parity record against the tolerance of a precision, a key of TOLERANCES. NaN never passes.

    Args:
        called: what messages name; None: the precision.

    Raises:
        GateError: a figure is beyond its tolerance; names the worst frame and the figure.
        DataError: unknown precision.
    """
    who = called or precision
    if precision not in TOLERANCES:
        raise DataError(f"no tolerance for precision {precision!r}", mend=f"Use one of {', '.join(TOLERANCES)}")
    tolerance = TOLERANCES[precision]
    limits = {"map_max": tolerance.map_max, "map_mean": tolerance.map_mean, "score": tolerance.score}
    for figure, limit in limits.items():
        found = [float(getattr(frame, figure)) for frame in parity.frames]
        beyond = [index for index, value in enumerate(found) if not value <= limit]
        if beyond:
            worst = max(beyond, key=lambda index: math.inf if math.isnan(found[index]) else found[index])
            raise GateError(
                f"{who} parity: {figure} of frame {worst} differs by {found[worst]:.4g} units, at most "
                f"{limit:g} allowed; {len(beyond)} of {len(found)} frames are beyond",
                mend="Calibrate on more frames, or keep more of the graph in float",
            )
    # Of few frames one may flip: that which set the threshold lies right below it.
    allowed = max(int(tolerance.flip_share > 0), math.floor(tolerance.flip_share * len(parity.frames)))
    if parity.flips > allowed:
        flipped = [str(index) for index, frame in enumerate(parity.frames) if frame.flipped]
        raise GateError(
            f"{who} parity: the decision flips on {parity.flips} of {len(parity.frames)} frames, at most "
            f"{allowed} allowed: frame {', '.join(flipped[:5])}",
            mend="Calibrate on more frames, or keep more of the graph in float",
        )


def in_units(
    reference: npt.NDArray[np.float64] | np.float64, other: npt.NDArray[np.float64] | np.float64, spread: float
) -> npt.NDArray[np.float64]:
    """Absolute difference in the unit of `compare`; float64, of the shape of its arguments. `spread` is above 0."""
    return np.asarray(np.abs(other - reference) / np.maximum(spread, np.abs(reference) / 4))


def _worst(values: Any) -> float:
    """Largest value; NaN wins over everything, which max() would not promise."""
    return float(np.max(list(values)))
