"""Data folders, good and bad: what is found, and what each refusal names."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_calibration.dataset import open_dataset, open_datasets
from diffad_runtime.errors import DataError


def picture(path: Path, height: int = 6, width: int = 8, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width), value, np.uint8))
    return path


def category(root: Path) -> Path:
    for index in range(3):
        picture(root / "train" / "good" / f"{index}.png")
    picture(root / "test" / "good" / "0.png")
    for kind in ("scratch", "dent"):
        for index in range(2):
            picture(root / "test" / kind / f"{index}.png")
            picture(root / "ground_truth" / kind / f"{index}_mask.png", value=255)
    return root


def test_mvtec_category(tmp_path: Path) -> None:
    root = category(tmp_path / "widget")
    dataset = open_dataset(root, same_size=True)
    assert (dataset.name, dataset.layout, dataset.root) == ("widget", "mvtec", root)
    assert [path.name for path in dataset.train_good] == ["0.png", "1.png", "2.png"]
    found = [(sample.kind, sample.image.name, sample.label) for sample in dataset.test]
    assert found == [
        ("dent", "0.png", 1),
        ("dent", "1.png", 1),
        ("good", "0.png", 0),
        ("scratch", "0.png", 1),
        ("scratch", "1.png", 1),
    ]
    masks = [sample.mask for sample in dataset.test]
    assert masks[1] == root / "ground_truth" / "dent" / "1_mask.png"
    assert masks[2] is None


def test_the_only_category_inside_a_folder_is_meant(tmp_path: Path) -> None:
    category(tmp_path / "widget")
    (tmp_path / "notes").mkdir()
    assert open_dataset(tmp_path).name == "widget"
    assert [dataset.name for dataset in open_datasets(tmp_path)] == ["widget"]


def test_several_categories(tmp_path: Path) -> None:
    category(tmp_path / "widget")
    category(tmp_path / "bolt")
    assert [dataset.name for dataset in open_datasets(tmp_path)] == ["bolt", "widget"]
    with pytest.raises(DataError, match="2 categories, expected one: bolt, widget"):
        open_dataset(tmp_path)


def test_plain_folder(tmp_path: Path) -> None:
    picture(tmp_path / "parts" / "b.png")
    picture(tmp_path / "parts" / "a.bmp")
    (tmp_path / "parts" / "notes.txt").write_text("not an image, and not named like one")
    dataset = open_dataset(tmp_path / "parts")
    assert (dataset.name, dataset.layout, dataset.test) == ("parts", "plain", [])
    assert [path.name for path in dataset.train_good] == ["a.bmp", "b.png"]


def test_training_alone_needs_no_test_folder(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "good" / "0.png")
    assert open_dataset(tmp_path).test == []


def test_missing_masks_are_named_and_counted(tmp_path: Path) -> None:
    root = category(tmp_path)
    (root / "ground_truth" / "dent" / "1_mask.png").unlink()
    (root / "ground_truth" / "scratch" / "0_mask.png").unlink()
    expected = r"2 defect images have no mask, the first is .*dent/1\.png, whose mask is expected at .*dent/1_mask\.png"
    with pytest.raises(DataError, match=expected):
        open_dataset(root)


@pytest.mark.parametrize("orphan", ["dent/9_mask.png", "dent/0.png", "ghost/0_mask.png"])
def test_orphan_masks_are_named(tmp_path: Path, orphan: str) -> None:
    root = category(tmp_path)
    picture(root / "ground_truth" / orphan, value=255)
    with pytest.raises(DataError, match=f"1 masks belong to no image, the first is .*{orphan}"):
        open_dataset(root)


def test_mask_of_another_size(tmp_path: Path) -> None:
    root = category(tmp_path)
    picture(root / "ground_truth" / "scratch" / "1_mask.png", height=8, width=6)
    with pytest.raises(DataError, match=r"scratch/1_mask\.png is 6 x 8 pixels, its image is 8 x 6"):
        open_dataset(root)


def test_mixed_sizes_only_where_forbidden(tmp_path: Path) -> None:
    root = category(tmp_path)
    picture(root / "train" / "good" / "7.png", height=5, width=5)
    assert len(open_dataset(root).train_good) == 4
    with pytest.raises(DataError, match=r"2 sizes .* 8 x 6 \(8 images\), 5 x 5 \(1 images\); .*7\.png is one"):
        open_dataset(root, same_size=True)


def test_sizes_of_other_formats_are_read_too(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.bmp", height=7)
    with pytest.raises(DataError, match="2 sizes"):
        open_dataset(tmp_path, same_size=True)


def test_a_mask_that_is_no_image(tmp_path: Path) -> None:
    root = category(tmp_path)
    (root / "ground_truth" / "dent" / "0_mask.png").write_text("hello")
    with pytest.raises(DataError, match=r"dent/0_mask\.png"):
        open_dataset(root)


def test_folders_that_hold_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="found a file"):
        open_dataset(picture(tmp_path / "file.png"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images and no category"):
        open_dataset(tmp_path / "empty")
    picture(tmp_path / "tested" / "test" / "good" / "0.png")
    with pytest.raises(DataError, match=r"no images to train on: expected good ones in .*train/good"):
        open_dataset(tmp_path / "tested")
    picture(tmp_path / "loose" / "train" / "good" / "0.png")
    picture(tmp_path / "loose" / "test" / "0.png")
    with pytest.raises(DataError, match=r"images directly in .*test"):
        open_dataset(tmp_path / "loose")


def test_digest_follows_names_and_bytes_but_not_the_place(tmp_path: Path) -> None:
    first = open_dataset(category(tmp_path / "one" / "widget")).digest()
    other = category(tmp_path / "two" / "gadget")
    assert open_dataset(other).digest() == first
    mask = other / "ground_truth" / "dent" / "0_mask.png"
    picture(mask, value=254)
    changed = open_dataset(other).digest()
    assert changed != first
    picture(mask, value=255)
    (other / "train" / "good" / "2.png").rename(other / "train" / "good" / "3.png")
    assert open_dataset(other).digest() not in {first, changed}
