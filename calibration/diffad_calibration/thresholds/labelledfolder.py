"""Labelled images of a folder: one subfolder a kind, "good" among them. MVTec-AD's test part, with or without the rest.

Knows names and reads pixels; masks are not looked at. dataset.py opens a whole category, masks and all.
"""

from collections.abc import Iterator
from pathlib import Path

from diffad_calibration.dataset import GOOD
from diffad_runtime.errors import DataError
from diffad_runtime.result import Frame
from diffad_runtime.sources import open_source

_NO_KINDS = frozenset({"train", "ground_truth"})


def labelled_kinds(folder: Path) -> list[Path]:
    """Folders of one kind each, sorted by name.

    Args:
        folder: holds test/<kind>, or the kinds themselves.

    Raises:
        DataError: no such folder, or no defective kind in it.
    """
    root = folder / "test" if (folder / "test").is_dir() else folder
    inside = sorted(root.iterdir()) if root.is_dir() else []
    kinds = [one for one in inside if one.is_dir() and not one.name.startswith(".") and one.name not in _NO_KINDS]
    if all(kind.name == GOOD for kind in kinds):
        raise DataError(
            f"{folder} holds no labelled images of defective parts",
            mend=f"Put them into test/<kind> there, good ones into test/{GOOD}",
        )
    return kinds


def labelled_frames(kinds: list[Path]) -> Iterator[tuple[Frame, int]]:
    """Frames with labels, 0 = good, 1 = defective, read one at a time.

    Raises:
        DataError: a folder without images, or files that cannot be read.
    """
    for kind in kinds:
        with open_source(str(kind)) as source:
            for frame in source:
                yield frame, int(kind.name != GOOD)
            if source.problems:
                raise DataError(
                    f"{len(source.problems)} labelled images cannot be read, the first: {source.problems[0]}",
                    mend="Replace these files, or move them out of the folder",
                )
