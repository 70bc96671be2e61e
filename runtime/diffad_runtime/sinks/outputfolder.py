"""A folder with one file per frame.

Knows how a frame's file is called and that it lies inside the folder, whatever the frame's name says. Does not know
what is in the files.
"""

import os
from pathlib import Path, PurePosixPath

from diffad_runtime.errors import InputError
from diffad_runtime.result import Frame


class OutputFolder:
    """Hands out one path per frame below `folder`, which is made where missing.

    Named after the frame's file, as in crack/001.png, or after its number, as in 00000012, where it has no file.

    Args:
        folder: of the output.
        suffix: of the files, as in ".png".
        replace: True: crack/001.jpg becomes crack/001.png. False: it becomes crack/001.jpg.png.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, folder: str | Path, suffix: str, *, replace: bool) -> None:
        self.folder = Path(folder)
        self._suffix = suffix
        self._replace = replace
        # One short text per file of a folder source; a camera's frames have no names and are not kept here.
        self._taken: dict[PurePosixPath, str] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the output folder {self.folder} cannot be made: {error.strerror or error}",
                mend="Name a folder that can be written to",
            ) from error
        self._root = self.folder.resolve()

    def path_of(self, frame: Frame) -> Path:
        """Where this frame's file goes; its folder exists afterwards.

        Raises:
            InputError: the name leads out of the folder, or two frames would share one file.
        """
        relative = self._relative(frame)
        path = self.folder / relative
        # mkdir would follow a link that lies in the folder, so links are looked for before anything is made.
        parent = path.parent.resolve()
        if parent != self._root and self._root not in parent.parents:
            raise self._escapes(frame.name)
        if frame.name:
            owner = self._taken.setdefault(relative, frame.name)
            if owner != frame.name:
                raise InputError(
                    f"{frame.name!r} and {owner!r} would both be written to {path}", mend="Rename one of the two"
                )
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the folder {parent} cannot be made: {error.strerror or error}", mend="Check the output folder"
            ) from error
        return path

    def _relative(self, frame: Frame) -> PurePosixPath:
        if not frame.name:
            return PurePosixPath(f"{frame.frame_id:08d}{self._suffix}")
        name = PurePosixPath(frame.name)
        if (
            name.is_absolute()
            or ".." in name.parts
            or not name.name
            or "\0" in frame.name
            or (os.name == "nt" and any(mark in frame.name for mark in "\\:"))
        ):
            raise self._escapes(frame.name)
        return name.with_suffix(self._suffix) if self._replace else name.with_name(name.name + self._suffix)

    def _escapes(self, name: str) -> InputError:
        return InputError(
            f"the frame name {name!r} leads out of the output folder {self.folder}", mend="Rename the file or the link"
        )
