"""Pictures, maps and outlines of whatever a source may give."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffad_runtime import Frame, Verdict
from diffad_runtime.preview.layers import MAP_SIDE, layers_of
from diffad_runtime.result import Result

Judge = Callable[..., tuple[Frame, Result]]


def test_a_rectangle_is_outlined_where_it_lies_on_the_small_picture(judge: Judge) -> None:
    mask = np.zeros((480, 640), np.uint8)
    mask[120:240, 320:480] = 255
    frame, result = judge(np.full((480, 640, 3), 128, np.uint8), mask=mask)
    layers = layers_of(frame, result, 160)
    assert layers.picture is not None
    assert layers.picture.shape == (120, 160, 3)
    assert (layers.width, layers.height) == (640, 480)
    ((outline),) = layers.outlines
    corners = np.array(outline).reshape(-1, 2)
    # centres of the outermost pixels, a quarter of the size: 320.5 / 4 and 479.5 / 4, 120.5 / 4 and 239.5 / 4
    assert sorted(map(tuple, corners.tolist())) == [(80.1, 30.1), (80.1, 59.9), (119.9, 30.1), (119.9, 59.9)]


def test_the_map_is_half_warm_at_the_threshold(judge: Judge) -> None:
    anomaly = np.array([[0.0, 0.5], [0.25, 9.0]], np.float32)
    frame, result = judge(np.full((8, 8), 128, np.uint8), anomaly_map=anomaly)
    warmth = layers_of(frame, result, 100).warmth
    assert warmth is not None
    assert warmth.tolist() == [[0, 127], [63, 255]]
    encoded = layers_of(frame, result, 100).encode(80)
    assert (cv2.imdecode(np.frombuffer(encoded.warmth, np.uint8), cv2.IMREAD_UNCHANGED) == warmth).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(1, 900),
    width=st.integers(1, 900),
    grey=st.booleans(),
    side=st.integers(1, 700),
    blobs=st.integers(0, 3),
    longest=st.sampled_from([64, 300]),
)
def test_any_size_fits_the_page(
    judge: Judge, height: int, width: int, grey: bool, side: int, blobs: int, longest: int
) -> None:
    image = np.full((height, width) if grey else (height, width, 3), 90, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    for blob in range(blobs):
        mask[blob * height // 3 : (blob + 1) * height // 3 + 1 : 2, : width // 2 + 1] = 255
    frame, result = judge(
        image, mask=mask, anomaly_map=np.full((side, max(1, side // 3)), 0.7, np.float32), verdict=Verdict.NG
    )
    layers = layers_of(frame, result, longest)
    assert layers.picture is not None
    assert layers.warmth is not None
    assert max(layers.picture.shape[:2]) == min(longest, max(height, width))
    assert max(layers.warmth.shape) == min(MAP_SIDE, side)
    assert not np.shares_memory(layers.picture, image)
    across = [value for outline in layers.outlines for value in outline[::2]]
    down = [value for outline in layers.outlines for value in outline[1::2]]
    assert all(0 <= value <= layers.picture.shape[1] for value in across)
    assert all(0 <= value <= layers.picture.shape[0] for value in down)
    encoded = layers.encode(50)
    shown = cv2.imdecode(np.frombuffer(encoded.picture, np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown is not None
    assert shown.shape == layers.picture.shape


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((0, 0), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros(7, np.uint8),
        None,
    ],
)
def test_what_is_no_picture_has_no_layers(judge: Judge, image: object) -> None:
    frame, result = judge(image)
    assert result.verdict is Verdict.ERROR
    layers = layers_of(frame, result, 300)
    assert (layers.picture, layers.warmth, layers.outlines) == (None, None, [])
    encoded = layers.encode(80)
    assert (encoded.picture, encoded.warmth) == (b"", b"")


def test_an_error_has_its_picture_and_no_map(judge: Judge) -> None:
    frame, result = judge(np.full((40, 30, 3), 7, np.uint8), verdict=Verdict.ERROR, score=float("nan"))
    layers = layers_of(frame, result, 300)
    assert layers.picture is not None
    assert (layers.warmth, layers.outlines) == (None, [])


def test_views_of_a_larger_array_are_taken(judge: Judge) -> None:
    """Sources may hand out arrays that are not laid out in one piece, or upside down."""
    whole = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    frame, result = judge(whole[::-1, 100:400:2])
    layers = layers_of(frame, result, 100)
    assert layers.picture is not None
    assert layers.picture.shape == (100, 38, 3)


def test_a_mask_of_noise_stays_within_bounds(judge: Judge) -> None:
    mask = np.where(np.random.default_rng(0).random((1080, 1920)) < 0.5, 255, 0).astype(np.uint8)
    anomaly = np.full((64, 64), np.nan, np.float32)
    frame, result = judge(np.full((1080, 1920, 3), 128, np.uint8), mask=mask, anomaly_map=anomaly, verdict=Verdict.NG)
    layers = layers_of(frame, result, 960)
    points = sum(len(outline) // 2 for outline in layers.outlines)
    assert 0 < points <= 2000
    assert len(layers.outlines) <= 100
    assert layers.warmth is not None
    assert not layers.warmth.any()
