"""Frames from image files: all images of a folder and below it, or one image.

Knows the order and that a bad file must be told. Does not know image formats (imagefile.py).
"""

from pathlib import Path

from diffad_runtime.errors import ImageError, SourceError
from diffad_runtime.imagefile import list_images, read_image
from diffad_runtime.sources.base import Shot, Source


class FolderSource(Source):
    """The images of a folder, recursively, sorted by path. A file that cannot be read goes to `problems`.

    Args:
        uri: as given.
        folder: existing folder.
        loop: start again after the last image, without end.

    Raises:
        DataError: no such folder, or no image file in it.
        SourceError: not one of the image files can be read.
    """

    def __init__(self, uri: str, folder: Path, *, loop: bool = False) -> None:
        super().__init__(uri, live=False, fps_hint=None)
        self._folder = folder
        self._paths = list_images(folder, recursive=True)
        self._loop = loop
        self._at = 0
        self._bad: set[Path] = set()
        self._first = self._read_on()
        if self._first is None:
            raise SourceError(
                f"none of the {len(self._paths)} image files in {folder} can be read; the first: {self.problems[0]}",
                mend="Put readable images there",
            )

    def _grab(self) -> Shot | None:
        if self._first is not None:
            shot, self._first = self._first, None
            return shot
        return self._read_on()

    def _read_on(self) -> Shot | None:
        """Go on to the next file that can be read."""
        while not self._closing.is_set():
            if self._at >= len(self._paths):
                if not self._loop or len(self._bad) == len(self._paths):
                    return None
                self._at = 0
            path = self._paths[self._at]
            self._at += 1
            if path in self._bad:
                continue
            try:
                return Shot(read_image(path), name=path.relative_to(self._folder).as_posix())
            except ImageError as error:
                self._bad.add(path)
                self.problems.append(error.what)
        return None

    def _release(self) -> None:
        self._first = None


class ImageSource(Source):
    """One image file, once or for ever.

    Raises:
        ImageError: the file cannot be read.
    """

    def __init__(self, uri: str, path: Path, *, loop: bool = False) -> None:
        super().__init__(uri, live=False, fps_hint=None)
        self._name = path.name
        self._image = read_image(path)
        self._left = None if loop else 1

    def _grab(self) -> Shot | None:
        if self._left == 0:
            return None
        if self._left is not None:
            self._left -= 1
        return Shot(self._image.copy(), name=self._name)

    def _release(self) -> None:
        self._left = 0
