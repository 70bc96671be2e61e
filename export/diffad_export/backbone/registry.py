"""The table of backbones, and the one way to load one by name."""

from collections.abc import Callable
from pathlib import Path

from diffad_export.backbone.extractor import GRID_STRIDE, STRIDES, Extractor
from diffad_export.backbone.lite0 import lite0
from diffad_runtime.errors import InputError


def _b4(weights: Path | None = None) -> Extractor:
    from diffad_export.backbone.b4 import b4  # noqa: PLC0415  its library is an extra of its own

    return b4(weights)


BACKBONES: dict[str, Callable[[Path | None], Extractor]] = {"efficientnet_lite0": lite0, "efficientnet_b4": _b4}


def load_backbone(
    name: str,
    weights: Path | None = None,
    *,
    strides: tuple[int, ...] = STRIDES,
    grid_stride: int = GRID_STRIDE,
) -> Extractor:
    """Load a frozen extractor by name.

    Args:
        name: a key of BACKBONES.
        weights: a file to take instead of the default weights.
        strides, grid_stride: which features, and their grid; as `Extractor`.

    Raises:
        InputError: unknown name, or a weights file that is missing or does not fit.
        MissingExtraError: the backbone's package is not installed.
    """
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}", mend=f"Choose one of: {', '.join(BACKBONES)}")
    if weights is not None and not weights.exists():
        raise InputError(f"no backbone weights at {weights}", mend="Check the path given with --backbone-weights")
    whole = BACKBONES[name](weights)
    return Extractor(list(whole.stages), whole.facts, strides, grid_stride)
