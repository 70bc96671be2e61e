"""The images of a folder as a job hands them out: in order, each with what tells a replaced file from the same one.

Knows files' names, sizes and times, and which names cannot be used. Does not read an image, and does not know Ray.
"""

from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from diffad_runtime.imagefile import list_images


@dataclass(frozen=True, slots=True)
class Item:
    """One image file.

    Attributes:
        index: place in the listing.
        name: path below the folder, with "/"; in UTF-8, whatever the disk has.
        file_bytes, file_mtime_ns: of the file; -1 where it could not be looked at.
        refused: why it is not scored, "" where it is.
    """

    index: int
    name: str
    file_bytes: int
    file_mtime_ns: int
    refused: str = ""

    def plain(self) -> dict[str, Any]:
        """As a row of the job's input."""
        return asdict(self)


def listing(folder: Path) -> list[Item]:
    """All images of a folder and below it, sorted by path, as `diffad-edge score` takes them.

    Of two whose masks would be one file, as a.png and a.jpg, the second is refused.

    Raises:
        DataError: no such folder, or no image file in it.
    """
    owners: dict[PurePosixPath, str] = {}
    items = []
    for index, path in enumerate(list_images(folder, recursive=True)):
        name = path.relative_to(folder).as_posix()
        try:
            facts = path.stat()
            size, changed = facts.st_size, facts.st_mtime_ns
        except OSError:  # gone, or not for us: reading it will say so
            size = changed = -1
        owner = owners.setdefault(PurePosixPath(name).with_suffix(".png"), name)
        refused = ""
        if owner != name:
            refused = f"{name!r} and {owner!r} would have one mask file between them. Rename one of the two."
        shown = name.encode("utf-8", "backslashreplace").decode("utf-8")
        if shown != name:
            refused = "its name is not UTF-8. Rename it."
        items.append(Item(index, shown, size, changed, refused))
    return items
