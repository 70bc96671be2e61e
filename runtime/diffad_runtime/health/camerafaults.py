"""From the medians of some looks to what is wrong with a camera. Pure: figures in, findings out.

Knows limits, relative to a reference and to its spread. Does not know pixels (picture.py), nor when a fault begins and
ends (camera.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffad_runtime.health.picture import LONG_SIDE, Look
from diffad_runtime.health.reference import Figure, Figures

_SPREADS = 2.5  # of single looks: six standard deviations of the median of nine
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class CameraLimits:
    """How far from the reference is too far. Where the reference's own spread asks for more, more is allowed.

    Attributes:
        sharpness: share of it that has to be left.
        brightness: relative change either way.
        contrast: share of it that has to be left.
        saturated: share of the picture more than in the reference.
        tint: relative change of blue or red beside green, either way.
        shift: share of the picture's long side, to the right or down, either way.
    """

    sharpness: float = 0.8
    brightness: float = 0.2
    contrast: float = 0.5
    saturated: float = 0.03
    tint: float = 0.1
    shift: float = 0.02


@dataclass(frozen=True, slots=True)
class Placed:
    """A look, and how far its picture lies from the mean one, in pixels of the small picture."""

    seen: Look
    right: float
    down: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One way in which a picture may be off.

    Attributes:
        kind: as in "picture blurred".
        strain: how far off, in units of what is allowed; above 1 is a fault.
        text: figures and limit.
    """

    kind: str
    strain: float
    text: str


def medians(looks: Sequence[Placed]) -> dict[str, float]:
    """Of each figure over some looks; NaN for sharpness where a picture has too little contrast."""
    names = ("sharpness", "brightness", "contrast", "saturated", "blue", "red")
    middle = {name: float(np.median([getattr(each.seen, name) for each in looks])) for name in names}
    return {**middle, **{name: float(np.median([getattr(each, name) for each in looks])) for name in ("right", "down")}}


def findings(
    middle: dict[str, float], normal: Figures, limits: CameraLimits, frame_size: tuple[int, ...]
) -> list[Finding]:
    """All that can be judged, whether it is off or not.

    Args:
        middle: of `medians`.
        normal: of the reference.
        limits: how far is too far.
        frame_size: (H, W) of the frames; where it is not that of the reference, sharpness cannot be compared.
    """
    found = [
        _below("picture dark", "brightness", middle, normal.brightness, limits.brightness),
        _above("picture bright", "brightness", middle, normal.brightness, limits.brightness),
        _below("picture flat", "contrast", middle, normal.contrast, 1 - limits.contrast),
        _saturated(middle["saturated"], normal.saturated, limits.saturated),
        _tinted(middle, normal, limits.tint),
    ]
    if middle["contrast"] > limits.contrast * normal.contrast.centre:  # else there is nothing to be seen shifted
        found.append(_shifted(middle, normal, limits.shift, max(frame_size)))
    comparable = tuple(frame_size) == (normal.frame_height, normal.frame_width) and np.isfinite(middle["sharpness"])
    if normal.sharpness is not None and comparable:
        found.append(_below("picture blurred", "sharpness", middle, normal.sharpness, 1 - limits.sharpness))
    return found


def gauges(middle: dict[str, float], normal: Figures) -> dict[str, float]:
    """The figures behind the findings, for metrics: shares of the reference, and small-picture pixels."""
    figures = {"brightness": normal.brightness, "contrast": normal.contrast, "sharpness": normal.sharpness}
    shares = {
        f"camera_{name}_ratio": _share(middle[name], figure) for name, figure in figures.items() if figure is not None
    }
    shift = float(np.hypot(middle["right"] - normal.right.centre, middle["down"] - normal.down.centre))
    return {**shares, "camera_shift_ratio": shift / LONG_SIDE, "camera_saturated_ratio": middle["saturated"]}


def _share(value: float, figure: Figure) -> float:
    return value / max(figure.centre, _TINY)


def _room(limit: float, figure: Figure) -> float:
    """Relative change that is allowed: a picture that varies much by itself has to change more to be off."""
    return max(limit, _SPREADS * figure.spread / max(figure.centre, _TINY))


def _below(kind: str, name: str, middle: dict[str, float], figure: Figure, limit: float) -> Finding:
    share, room = _share(middle[name], figure), min(_room(limit, figure), 0.95)
    return Finding(kind, (1 - share) / room, f"{name} {share:.2f} of the reference, limit {1 - room:.2f}")


def _above(kind: str, name: str, middle: dict[str, float], figure: Figure, limit: float) -> Finding:
    share, room = _share(middle[name], figure), _room(limit, figure)
    return Finding(kind, (share - 1) / room, f"{name} {share:.2f} of the reference, limit {1 + room:.2f}")


def _saturated(share: float, figure: Figure, limit: float) -> Finding:
    room = max(limit, _SPREADS * figure.spread)
    text = f"{100 * share:.1f} % of it, limit {100 * (figure.centre + room):.1f} %"
    return Finding("picture saturated", (share - figure.centre) / room, text)


def _tinted(middle: dict[str, float], normal: Figures, limit: float) -> Finding:
    tints = []
    for name, figure in (("blue", normal.blue), ("red", normal.red)):
        share, room = _share(middle[name], figure), _room(limit, figure)
        text = f"{name} beside green {share:.2f} of the reference, limit {1 - room:.2f} to {1 + room:.2f}"
        tints.append(Finding("colours changed", abs(share - 1) / room, text))
    return max(tints, key=lambda each: each.strain)


def _shifted(middle: dict[str, float], normal: Figures, limit: float, long_side: int) -> Finding:
    scale = long_side / LONG_SIDE
    right, down = middle["right"] - normal.right.centre, middle["down"] - normal.down.centre
    rooms = [max(limit * LONG_SIDE, _SPREADS * figure.spread) for figure in (normal.right, normal.down)]
    text = (
        f"by ({right * scale:.0f}, {down * scale:.0f}) px right and down, "
        f"limits {rooms[0] * scale:.0f} and {rooms[1] * scale:.0f}"
    )
    return Finding("picture shifted", max(abs(right) / rooms[0], abs(down) / rooms[1]), text)
