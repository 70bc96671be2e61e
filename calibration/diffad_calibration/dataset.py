"""Where the images of a data folder are, which are good, and which mask belongs to which defect.

Two layouts. MVTec-AD: train/good, test/<kind>, ground_truth/<kind>/<stem>_mask.png, test/good without masks.
Plain: a folder of good images, nothing else. Knows names, sizes and bytes; pixels are loading.py's.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffad_runtime.errors import DataError, ImageError
from diffad_runtime.imagefile import IMAGE_SUFFIXES, list_images, read_image

GOOD = "good"
SHOWN = 5  # names listed in an error before it only counts


@dataclass(frozen=True, slots=True)
class Sample:
    """One test image: its folder's name as `kind`, its mask if it is defective, label 0 = good, 1 = defective."""

    image: Path
    kind: str
    mask: Path | None
    label: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """One category.

    Attributes:
        root: the category's folder.
        name: its name.
        train_good: good images to train on, sorted by name.
        test: labelled images, sorted by kind and name; empty for a plain folder.
        layout: "mvtec" or "plain".
    """

    root: Path
    name: str
    train_good: list[Path]
    test: list[Sample]
    layout: Literal["mvtec", "plain"]

    def digest(self) -> str:
        """SHA-256 (hex) over the names below the root and the bytes of every image and mask, in a fixed order."""
        masks = [sample.mask for sample in self.test if sample.mask is not None]
        whole = hashlib.sha256()
        for path in sorted([*self.train_good, *(sample.image for sample in self.test), *masks]):
            whole.update(path.relative_to(self.root).as_posix().encode() + b"\0")
            whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()


def open_dataset(folder: str | Path, *, same_size: bool = False) -> Dataset:
    """Open one category: the folder itself, or the only category inside it.

    Args:
        folder: MVTec-AD category, a folder that holds exactly one, or a plain folder of good images.
        same_size: refuse images that are not all of one size.

    Raises:
        DataError: no such folder, nothing to train on, several categories, a defect image without a mask, a mask
            without an image, a mask of another size than its image, an image or mask whose size cannot be read, or
            mixed sizes where `same_size` forbids them. Pixels are not read here: damage shows up in loading.
    """
    folder = _folder(folder)
    categories = _categories(folder)
    if len(categories) > 1:
        raise DataError(
            f"{folder} holds {len(categories)} categories, expected one: {_first(c.name for c in categories)}",
            mend=f"Name one of them, as in {categories[0]}",
        )
    dataset = _open_mvtec(categories[0]) if categories else _open_plain(folder)
    _check_sizes(dataset, same_size=same_size)
    return dataset


def open_datasets(folder: str | Path, *, same_size: bool = False) -> list[Dataset]:
    """Open every category in a folder, sorted by name; a single category or a plain folder gives a list of one.

    Raises:
        DataError: as open_dataset, for the first category at fault.
    """
    folder = _folder(folder)
    categories = _categories(folder)
    return [open_dataset(category, same_size=same_size) for category in categories or [folder]]


def _folder(folder: str | Path) -> Path:
    folder = Path(folder).absolute()
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(
            f"expected a data folder at {folder}, found {found}", mend="Check the path, or unpack the data there"
        )
    return folder


def _categories(folder: Path) -> list[Path]:
    if _is_category(folder):
        return [folder]
    return sorted(child for child in folder.iterdir() if child.is_dir() and _is_category(child))


def _is_category(folder: Path) -> bool:
    return (folder / "train").is_dir() or (folder / "test").is_dir()


def _open_plain(folder: Path) -> Dataset:
    if not _has_images(folder):
        raise DataError(
            f"{folder} holds no images and no category with train/{GOOD}",
            mend=f"Put good images into {folder}, or into {folder / 'train' / GOOD} with defects under test/<kind>",
        )
    return Dataset(folder, folder.name, list_images(folder), [], "plain")


def _open_mvtec(root: Path) -> Dataset:
    train = root / "train" / GOOD
    if not train.is_dir() or not _has_images(train):
        raise DataError(f"no images to train on: expected good ones in {train}", mend="Put good images there")
    if (root / "test").is_dir() and _has_images(root / "test"):
        raise DataError(
            f"images directly in {root / 'test'}, expected one folder a kind",
            mend=f"Move good ones to test/{GOOD} and defects to test/<kind>",
        )
    test: list[Sample] = []
    missing: list[tuple[Path, Path]] = []
    for kind in _subfolders(root / "test"):
        images = list_images(kind) if _has_images(kind) else []
        if kind.name == GOOD:
            test += [Sample(image, GOOD, None, 0) for image in images]
            continue
        for image in images:
            mask = root / "ground_truth" / kind.name / f"{image.stem}_mask.png"
            if mask.is_file():
                test.append(Sample(image, kind.name, mask, 1))
            else:
                missing.append((image, mask))
    if missing:
        image, mask = missing[0]
        raise DataError(
            f"{len(missing)} defect images have no mask, the first is {image}, whose mask is expected at {mask}",
            mend="Add the masks (0 = good, 255 = defect), or move the images out of the folder",
        )
    _check_orphans(root, {sample.mask for sample in test if sample.mask is not None})
    return Dataset(root, root.name, list_images(train), test, "mvtec")


def _check_orphans(root: Path, used: set[Path]) -> None:
    orphans = [
        mask
        for kind in _subfolders(root / "ground_truth")
        if _has_images(kind)
        for mask in list_images(kind)
        if mask not in used
    ]
    if orphans:
        wanted = root / "test" / orphans[0].parent.name / orphans[0].name.replace("_mask.", ".")
        raise DataError(
            f"{len(orphans)} masks belong to no image, the first is {orphans[0]}, whose image is expected at {wanted}",
            mend="Add the images, or move the masks out of the folder",
        )


def _check_sizes(dataset: Dataset, *, same_size: bool) -> None:
    for sample in dataset.test:
        if sample.mask is None:
            continue
        image, mask = _size(sample.image), _size(sample.mask)
        if image != mask:
            raise DataError(
                f"mask {sample.mask} is {mask[0]} x {mask[1]} pixels, its image is {image[0]} x {image[1]}",
                mend="Draw the mask on the image at its own size",
            )
    if not same_size:
        return
    sizes = {path: _size(path) for path in [*dataset.train_good, *(sample.image for sample in dataset.test)]}
    counts = Counter(sizes.values()).most_common()
    if len(counts) > 1:
        odd = next(path for path, size in sizes.items() if size == counts[1][0])
        listed = _first(f"{width} x {height} ({count} images)" for (width, height), count in counts)
        raise DataError(
            f"images of {len(counts)} sizes in {dataset.root}, expected one: {listed}; {odd} is one of the odd ones",
            mend="Crop or resize the images to one size, or allow mixed sizes",
        )


def _size(path: Path) -> tuple[int, int]:
    """Width and height. A PNG says so in its first 24 bytes, which saves decoding a whole test set just to ask."""
    with path.open("rb") as file:
        head = file.read(24)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and head[12:16] == b"IHDR" and len(head) == 24:
        width, height = struct.unpack(">II", head[16:])
        return int(width), int(height)
    try:
        image = read_image(path)
    except ImageError as error:
        raise DataError(error.what, mend=error.mend) from error
    return image.shape[1], image.shape[0]


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") for path in folder.iterdir())


def _first(names: Iterable[object]) -> str:
    listed = [str(name) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
