"""Frame to input and map to frame: where a thing is, it stays; what is too fine to be seen does not alias."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.geometry import to_frame, to_input

SIDES = st.integers(16, 400)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.sampled_from([32, 64]), st.data())
def test_a_blob_comes_back_within_one_input_pixel(height: int, width: int, size: int, data: st.DataObject) -> None:
    """A blob in the frame, seen at input size, brought back: its centre moves by less than one input pixel."""
    radius_y, radius_x = max(1, round(2 * height / size)), max(1, round(2 * width / size))
    y = data.draw(st.integers(radius_y, height - 1 - radius_y))
    x = data.draw(st.integers(radius_x, width - 1 - radius_x))
    frame = np.zeros((height, width, 3), np.uint8)
    frame[y - radius_y : y + radius_y + 1, x - radius_x : x + radius_x + 1] = 255
    seen = to_input(frame, size)
    assert seen.shape == (size, size, 3)
    back = to_frame(seen[..., 0].astype(np.float32), height, width)
    assert back.shape == (height, width)
    assert back.dtype == np.float32
    weights = back / back.sum()
    assert abs((weights.sum(axis=1) * np.arange(height)).sum() - y) < max(1.0, height / size)
    assert abs((weights.sum(axis=0) * np.arange(width)).sum() - x) < max(1.0, width / size)


@pytest.mark.parametrize("shape", [(1080, 1920), (512, 512), (300, 40), (40, 300), (20, 20), (257, 131)])
def test_flat_stays_flat_and_orientation_is_kept(shape: tuple[int, int]) -> None:
    flat = np.full((*shape, 3), (10, 120, 240), np.uint8)
    np.testing.assert_array_equal(to_input(flat, 64), np.broadcast_to(np.uint8([10, 120, 240]), (64, 64, 3)))
    ramp = np.zeros((*shape, 3), np.uint8)
    ramp[: shape[0] // 2, :, 0] = 200
    ramp[:, : shape[1] // 2, 2] = 200
    small = to_input(ramp, 64)
    assert small[:30, :, 0].min() == 200
    assert small[34:, :, 0].max() == 0
    assert small[:, :30, 2].min() == 200
    assert small[:, 34:, 2].max() == 0


@pytest.mark.parametrize("shape", [(1080, 1920), (64, 1024), (1024, 64), (40, 1024)])
def test_stripes_finer_than_the_input_do_not_alias(shape: tuple[int, int]) -> None:
    """Stripes of 4.3 pixels a period along the longer side: means wash them out, linear sampling keeps them."""
    stripes = 128 + 100 * np.sign(np.sin(2 * np.pi * np.arange(max(shape)) / 4.3))
    along = stripes[None] if shape[1] > shape[0] else stripes[:, None]
    frame = np.broadcast_to(along, shape).astype(np.uint8)
    seen = to_input(np.repeat(frame[..., None], 3, axis=2), 64)
    assert seen.astype(float).std() < 15
    assert cv2.resize(frame, (64, 64), interpolation=cv2.INTER_LINEAR).astype(float).std() > 60


def test_whole_factors_equal_block_means() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (192, 256, 3), dtype=np.uint8)
    means = frame.reshape(64, 3, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(to_input(frame, 64) - means).max() <= 0.51


def _area_matrix(inside: int, outside: int) -> npt.NDArray[np.float64]:
    """(outside, inside): the share of each output pixel that each input pixel covers, summed by hand."""
    matrix = np.zeros((outside, inside))
    for row in range(outside):
        start, end = row * inside / outside, (row + 1) * inside / outside
        for column in range(int(start), min(inside, int(np.ceil(end)))):
            matrix[row, column] = max(0.0, min(end, column + 1) - max(start, column))
    return matrix * outside / inside


def _exact_means(frame: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.float64]:
    rows, columns = _area_matrix(frame.shape[0], size), _area_matrix(frame.shape[1], size)
    means = (rows @ frame.reshape(len(frame), -1)).reshape(size, -1, 3)
    return np.asarray(np.stack([means[..., channel] @ columns.T for channel in range(3)], axis=2))


def _picture(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """Shapes with sharp edges and fine grain."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(60, 200, (9, 12, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST).astype(int)
    return np.clip(frame + generator.normal(0, 8, frame.shape), 0, 255).astype(np.uint8)


# Cameras of 4:3, 5:4 and 16:9, 4K, odd sides, and shapes that leave no quick way.
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (1080, 1920, 256),
        (1080, 1920, 128),
        (1024, 1280, 256),
        (1200, 1600, 256),
        (2160, 3840, 256),
        (768, 1024, 256),
        (720, 1280, 256),
        (1081, 1917, 256),
        (1079, 600, 128),
        (601, 2999, 96),
        (1944, 2592, 512),
    ],
)
def test_large_frames_stay_close_to_exact_area_means(height: int, width: int, size: int) -> None:
    frame = _picture(height, width, height)
    difference = to_input(frame, size) - _exact_means(frame, size)
    assert np.sqrt((difference**2).mean()) < 1.3
    assert abs(difference.mean()) < 0.8


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 480), st.integers(8, 640), st.sampled_from([8, 16, 24, 31]), st.integers(0, 9))
def test_frames_up_to_vga_are_close_to_exact_area_means(height: int, width: int, size: int, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if min(height, width) < size:
        return  # an axis that grows is interpolated
    difference = np.abs(to_input(frame, size) - _exact_means(frame, size))
    # White noise is the worst there is: halving first shifts whole pixels over the edge of a mean.
    halved = min(height, width) >= 4 * size and height % 2 == 0 and width % 2 == 0
    assert difference.max() <= (40 if halved else 1.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(200, 1400), st.integers(200, 1400), st.sampled_from([32, 64, 100]))
def test_any_large_frame_has_no_shift_and_no_alias(height: int, width: int, size: int) -> None:
    """A slope stays where it is, and a checkerboard of single pixels is grey."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, height)[:, None]
    frame[..., 1] = np.linspace(0, 255, width)[None]
    frame[..., 2] = 255 * (np.add.outer(np.arange(height), np.arange(width)) % 2)
    seen = to_input(frame, size)
    expected = _exact_means(frame, size)
    assert np.abs(seen - expected)[..., :2].max() < 2
    assert seen[..., 2].astype(float).std() < 8


def test_halving_stays_close_to_true_means() -> None:
    """A smooth picture with fine grain: the fast way differs from INTER_AREA by less than one grey level RMS."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(60, 200, (34, 60, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, (1920, 1080), interpolation=cv2.INTER_CUBIC).astype(int)
    frame = np.clip(frame + generator.normal(0, 8, frame.shape), 0, 255).astype(np.uint8)
    plain = cv2.resize(frame, (256, 256), interpolation=cv2.INTER_AREA).astype(float)
    difference = to_input(frame, 256) - plain
    assert np.sqrt((difference**2).mean()) < 1.0
    assert abs(difference.mean()) < 0.5  # every mean of integers rounds halves up


def test_views_grey_and_identity() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_input(frame[:, ::-1], 32), to_input(frame[:, ::-1].copy(), 32))
    assert to_input(frame[..., 0], 32).shape == (32, 32)
    same = frame[:64, :64].copy()
    assert to_input(same, 64) is same
    assert to_input(frame[:64, ::-1][:, :64], 64).flags.c_contiguous


def test_map_between_pixels_is_linear() -> None:
    anomaly = np.float32([[0, 4], [8, 12]])
    expected_row = [0, 1, 3, 4]  # centres at 0.25, 0.75, 1.25, 1.75 of pixels at 0.5 and 1.5
    np.testing.assert_allclose(to_frame(anomaly, 2, 4)[0], expected_row)
    np.testing.assert_allclose(to_frame(anomaly, 1, 1), [[6]])
