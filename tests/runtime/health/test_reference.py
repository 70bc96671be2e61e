"""A reference: how it is learned, kept, and refused when damaged."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from diffad_runtime.bundle.golden import GoldenFrame
from diffad_runtime.errors import DataError
from diffad_runtime.health.picture import look, small_size
from diffad_runtime.health.reference import Reference, golden_reference, learn, load_reference, save_reference
from diffad_runtime.health.shift import Shift
from diffad_runtime.result import Image


def scene(seed: int, height: int = 120, width: int = 200) -> Image:
    """A bright square on dark, with noise."""
    rng = np.random.default_rng(seed)
    picture = rng.normal(60, 3, (height, width, 3))
    picture[30:80, 60:130] += 100
    return np.clip(picture, 0, 255).astype(np.uint8)


@pytest.fixture
def reference() -> Reference:
    return learn([scene(seed) for seed in range(12)])


def test_there_and_back(reference: Reference, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "camera.json"
    save_reference(path, reference)
    assert sorted(each.name for each in path.parent.iterdir()) == ["camera.json", "camera.png"]
    again = load_reference(path)
    assert again.figures.model_copy(update={"picture_sha256": ""}) == reference.figures
    for name in ("mean", "details", "spread"):
        np.testing.assert_allclose(getattr(again, name), getattr(reference, name), atol=1 / 255)
        assert getattr(again, name).dtype == np.float32
    assert path.with_suffix(".png").stat().st_size < 200_000


def test_what_is_learned(reference: Reference) -> None:
    figures = reference.figures
    assert (figures.pictures, figures.frame_height, figures.frame_width) == (12, 120, 200)
    assert reference.mean.shape == small_size(120, 200) == (115, 192)
    inside = 50 * 70 / (120 * 200)
    assert figures.brightness.centre == pytest.approx(60 + 100 * inside, abs=1)
    assert figures.contrast.centre == pytest.approx(100, rel=0.1)
    assert figures.blue.centre == pytest.approx(1, abs=0.01)
    assert abs(figures.right.centre) < 0.1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".png").unlink(),
        lambda path: path.write_text("{"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "variety": math.nan})),
        lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), "frame_width": 500})),
        lambda path: path.with_suffix(".png").write_bytes(b"no picture"),
        lambda path: path.with_suffix(".png").write_bytes(b"x" * 5_000_000),
    ],
)
def test_damaged_files(damage, reference: Reference, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "camera.json"
    save_reference(path, reference)
    damage(path)
    with pytest.raises(DataError, match="Delete both files and let the run learn"):
        load_reference(path)


def test_the_picture_of_another_reference(reference: Reference, tmp_path: Path) -> None:
    for name, kept in (("one", reference), ("other", learn([scene(seed) for seed in range(5)]))):
        save_reference(tmp_path / f"{name}.json", kept)
    (tmp_path / "other.png").replace(tmp_path / "one.png")
    with pytest.raises(DataError, match="is not the one that belongs to it"):
        load_reference(tmp_path / "one.json")


def test_too_few_or_of_several_sizes() -> None:
    with pytest.raises(DataError, match="needs 3 pictures of good parts at least, got 2"):
        learn([scene(0), scene(1)])
    with pytest.raises(DataError, match="no picture"):
        learn([])
    with pytest.raises(DataError, match="pictures of one camera have one size"):
        learn([scene(0), scene(1), scene(2, 60)])


def test_from_golden_frames() -> None:
    frames = [GoldenFrame(f"{n:02d}", scene(n), {"label": "good" if n < 4 else "pasted defect"}) for n in range(8)]
    assert golden_reference(frames).figures.pictures == 4
    with pytest.raises(DataError):
        golden_reference(frames[2:])


def test_pictures_without_contrast_have_no_sharpness() -> None:
    grey = np.full((64, 64, 3), 100, np.uint8)
    assert math.isnan(look(grey, (64, 64)).sharpness)
    assert learn([grey] * 3).figures.sharpness is None


@pytest.mark.parametrize("shape", [(16, 16), (17, 400), (400, 17), (1080, 1920), (33, 35)])
def test_frames_of_any_size(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    seen = look(picture[:, ::-1], small_size(*shape))
    assert seen.small.shape == small_size(*shape)
    assert seen.brightness == pytest.approx(127, abs=6)


def test_a_step_is_as_steep_as_it_is() -> None:
    """Half black, half white, smoothed with sigma 1: Sobel's operator sees 4 x (c2 - c0) at the edge.

    c: the smoothed step at pixels -1.5, -0.5, 0.5, 1.5 from the edge. Only two columns of 64 are that steep: 3 %.
    """
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 32:] = 200
    seen = look(picture, (64, 64))
    kernel = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    smoothed = np.convolve(np.r_[np.zeros(20), np.full(20, 200.0)], kernel / kernel.sum(), "same")
    steepest = 4 * (smoothed[21] - smoothed[19])
    assert seen.contrast == pytest.approx(200, abs=2)
    assert seen.sharpness == pytest.approx(steepest / 200, rel=0.03)


@pytest.mark.parametrize("by", [(0, 0), (5, 0), (0, -7), (12, 9), (-3, 4)])
def test_a_shift_is_found(by: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    picture = rng.normal(100, 20, (108, 192)).astype(np.float32)
    from_there = np.roll(picture, (by[1], by[0]), (0, 1))
    right, down = Shift(picture).of(from_there)
    assert (right, down) == (pytest.approx(by[0], abs=0.1), pytest.approx(by[1], abs=0.1))


def test_half_a_pixel() -> None:
    x = np.arange(192, dtype=np.float32)
    bump = lambda centre: np.tile(np.exp(-(((x - centre) / 6) ** 2)), (108, 1)).astype(np.float32)  # noqa: E731
    right, down = Shift(bump(96)).of(bump(98.5))
    assert right == pytest.approx(2.5, abs=0.25)
    assert down == pytest.approx(0, abs=0.25)
    assert Shift(bump(96)).of(np.full((108, 192), 7, np.float32)) == (0.0, 0.0)
