"""Pixels: the runtime's own resize, masks that stay on their image, and unreadable files named and counted."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_calibration.dataset import Sample
from diffad_calibration.loading import load_images, load_masks
from diffad_runtime.errors import DataError
from diffad_runtime.geometry import to_input


def test_images_are_resized_as_on_the_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colour, grey = rng.integers(0, 256, (40, 60, 3), np.uint8), rng.integers(0, 256, (16, 16), np.uint8)
    paths = [tmp_path / "dent" / "a.png", tmp_path / "good" / "a.png"]
    for path, pixels in zip(paths, (colour, grey), strict=True):
        path.parent.mkdir()
        cv2.imwrite(str(path), pixels)
    seen = []
    loaded = load_images(paths, 16, lambda done, total: seen.append((done, total)))
    assert (loaded.array.shape, loaded.array.dtype) == ((2, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(loaded.array[0], to_input(colour, 16))
    np.testing.assert_array_equal(loaded.array[1], np.repeat(grey[:, :, None], 3, axis=2))
    assert loaded.names == ["dent/a.png", "good/a.png"]
    assert seen == [(1, 2), (2, 2)]


def test_unreadable_files_are_all_counted_and_five_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "fine.png"), np.zeros((4, 4), np.uint8))
    bad = [tmp_path / f"bad{index}.png" for index in range(7)]
    for index, path in enumerate(bad):
        path.write_text("text" if index else "")
    with pytest.raises(DataError) as caught:
        load_images([tmp_path / "fine.png", *bad], 4)
    assert "7 of 8 images cannot be read" in str(caught.value)
    assert [f"bad{index}.png" in str(caught.value) for index in range(7)] == [True] * 5 + [False] * 2
    assert "and 2 more" in str(caught.value)

    lenient = load_images([tmp_path / "fine.png", *bad], 4, strict=False)
    assert lenient.names == [f"{tmp_path.name}/fine.png"]
    assert lenient.array.shape == (1, 4, 4, 3)
    assert len(lenient.problems) == 7
    with pytest.raises(DataError, match="7 of 7"):
        load_images(bad, 4, strict=False)


def test_no_paths_give_no_images() -> None:
    assert load_images([], 8).array.shape == (0, 8, 8, 3)


def test_masks_stay_binary_and_do_not_shift(tmp_path: Path) -> None:
    mask = np.zeros((32, 48), np.uint8)
    mask[9:23, 13:35] = 255  # centred: must stay centred
    path = tmp_path / "0_mask.png"
    cv2.imwrite(str(path), mask)
    image = tmp_path / "0.png"
    masks = load_masks([Sample(image, "dent", path, 1), Sample(image, "good", None, 0)], 10)
    assert set(np.unique(masks)) == {0, 255}
    np.testing.assert_array_equal(masks[0], masks[0][::-1, ::-1])
    assert (masks[0] > 0).sum() == 4 * 4
    assert not masks[1].any()


def test_unreadable_masks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "0_mask.png"
    path.write_text("text")
    with pytest.raises(DataError, match=r"1 of 1 masks cannot be read: .*0_mask\.png"):
        load_masks([Sample(tmp_path / "0.png", "dent", path, 1)], 8)
