"""What a fault does to pixels, against what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.chaos.damage import OUT_OF_SHAPE, spoil
from diffad_runtime.chaos.kinds import FAULTS, FaultKind
from diffad_runtime.result import Image
from diffad_runtime.sources.usable import why_unusable


def _image(height: int = 40, width: int = 30) -> Image:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _spoilt(kind: FaultKind, amount: float | None = None) -> np.ndarray:  # type: ignore[type-arg]
    amount = FAULTS[kind].amount if amount is None else amount
    return spoil(kind, _image(), amount, np.random.default_rng(0))


@pytest.mark.parametrize("kind", list(FaultKind))
def test_same_generator_same_damage_and_shape_only_where_said(kind: FaultKind) -> None:
    np.testing.assert_array_equal(_spoilt(kind), _spoilt(kind))
    kept = _spoilt(kind).shape == (40, 30, 3) and _spoilt(kind).dtype == np.uint8
    assert kept == (kind not in OUT_OF_SHAPE)
    assert _spoilt(kind).flags.c_contiguous


def test_what_is_no_picture() -> None:
    assert "empty" in why_unusable(_spoilt(FaultKind.EMPTY))
    assert "float32" in why_unusable(_spoilt(FaultKind.DTYPE))
    np.testing.assert_allclose(_spoilt(FaultKind.DTYPE) * 255, _image(), atol=1e-4)


def test_missing_rows() -> None:
    np.testing.assert_array_equal(_spoilt(FaultKind.TRUNCATED, 0.25), _image()[:30])
    assert _spoilt(FaultKind.TRUNCATED, 1.0).shape == (1, 30, 3)


@given(amount=st.floats(0, 1), seed=st.integers(0, 1000))
def test_noise_is_one_band(amount: float, seed: int) -> None:
    spoilt = spoil(FaultKind.NOISE, _image(), amount, np.random.default_rng(seed))
    rows = np.flatnonzero((spoilt != _image()).any(axis=(1, 2)))
    expected = max(1, round(40 * amount))
    assert len(rows) == expected  # 90 random bytes in a row are never the old ones
    assert rows[-1] - rows[0] + 1 == expected


def test_size() -> None:
    assert _spoilt(FaultKind.SIZE, 0.5).shape == (20, 15, 3)
    assert _spoilt(FaultKind.SIZE, 2).shape == (80, 60, 3)
    assert _spoilt(FaultKind.SIZE, 0).shape == (1, 1, 3)


def test_colours() -> None:
    grey = _spoilt(FaultKind.GREY)
    np.testing.assert_array_equal(grey[:, :, 0], grey[:, :, 2])
    np.testing.assert_allclose(grey[:, :, 0], _image() @ [0.114, 0.587, 0.299], atol=1)
    np.testing.assert_array_equal(_spoilt(FaultKind.SWAP), _image()[:, :, ::-1])
    np.testing.assert_allclose(_spoilt(FaultKind.GAIN, 0.5), _image() * 0.5, atol=0.51)
    assert _spoilt(FaultKind.GAIN, 100).min() in (0, 100)


def test_what_leaves_pixels_alone() -> None:
    for kind in (FaultKind.FREEZE, FaultKind.DROP, FaultKind.SLOW, FaultKind.CLOCK_BACK, FaultKind.END):
        np.testing.assert_array_equal(_spoilt(kind), _image())
