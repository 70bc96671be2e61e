"""The line as a data set on disk, in the MVTec-AD layout.

Knows the layout (train/good, test/<kind>, ground_truth/<kind>/<stem>_mask.png). Does not know how a frame is made.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from diffad_runtime.errors import DataError
from diffad_runtime.imagefile import write_mask, write_png
from diffad_runtime.synthetic.line import DEFECT_KINDS, LineConfig, SyntheticLine


def write_mvtec(
    folder: str | Path,
    config: LineConfig,
    *,
    train_good: int = 200,
    test_good: int = 40,
    test_per_kind: int = 20,
    on_image: Callable[[int, int], None] | None = None,
) -> Path:
    """Render a data set; it appears under its name only when it is whole.

    The frames are consecutive on the line: training parts first, then good test parts, then each defect kind, so the
    lamp drifts on from training to test. `config.defects` is not used.

    Args:
        folder: must not exist, or be empty.
        config: the line.
        train_good, test_good: number of good parts.
        test_per_kind: number of parts for each of DEFECT_KINDS.
        on_image: called as on_image(done, total) after each image.

    Raises:
        DataError: the folder holds something, or cannot be written.
        ImageError: an image could not be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder", mend="Name a new folder, or remove this one")
    line = SyntheticLine(config)
    plan = list(_plan(train_good, test_good, test_per_kind))
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.mkdir(parents=True)
        for index, (split, kind, stem) in enumerate(plan):
            frame = line.frame(index, kind)
            write_png(temporary / split / kind / f"{stem}.png", frame.image)
            if kind != "good":
                write_mask(temporary / "ground_truth" / kind / f"{stem}_mask.png", frame.mask)
            if on_image is not None:
                on_image(index + 1, len(plan))
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}", mend="Check the path and space") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _plan(train_good: int, test_good: int, test_per_kind: int) -> Iterator[tuple[str, str, str]]:
    """(split, kind, stem) of every image, in line order."""
    counts = [("train", "good", train_good), ("test", "good", test_good)]
    counts += [("test", kind, test_per_kind) for kind in DEFECT_KINDS]
    for split, kind, count in counts:
        yield from ((split, kind, f"{number:04d}") for number in range(count))
