"""A folder with one file per frame.

Knows how a frame's file is called, that it lies inside the folder, whatever the frame's name says, and that a camera's
files stay within limits. Does not know what is in the files.
"""

import os
import re
import uuid
from datetime import timezone
from pathlib import Path, PurePosixPath

from diffad_runtime.errors import InputError
from diffad_runtime.result import Frame
from diffad_runtime.sinks.keeper import Keeper
from diffad_runtime.sinks.retention import Retention
from diffad_runtime.sinks.stamps import moment, safe_part
from diffad_runtime.sinks.wholefile import LEFTOVER

LIVE_RETENTION = Retention(max_bytes=2_000_000_000, min_free_bytes=500_000_000)
"""Files of a camera. A mask takes a block of 4096 bytes: half a million, 4.5 hours at 30 frames a second."""

MARKER = ".diffad-output"

_MINUTES = 10  # to a shelf: 18,000 files at 30 frames a second, few enough to be listed
_SHELVES = re.compile(r"(\d{8}T\d{4}Z)-[0-9a-f]{8}")
_NAME = r"\d{8}T\d{6}\.\d{6}Z_-?\d{7,}"


class OutputFolder:
    """Hands out one path per frame below `folder`, which is made where missing.

    Named after the frame's file, as in crack/001.png, or after its number, as in 00000012, where it has no file. Frame
    numbers start again with each run and would overwrite those of the run before. So a camera's files are named after
    the time of capture, frame and part, in a folder for each ten minutes of each run, and the oldest go:
    20261127T1010Z-3f2a9c01/20261127T101500.250000Z_00000012_PART.png.

    Args:
        folder: of the output.
        suffix: of the files, as in ".png".
        replace: True: crack/001.jpg becomes crack/001.png. False: it becomes crack/001.jpg.png.
        live: frames of a camera.
        retention: how many of a camera's files are kept; None: LIVE_RETENTION.

    Raises:
        InputError: the folder cannot be made; another run or sink writes a camera's files to it.
    """

    def __init__(
        self,
        folder: str | Path,
        suffix: str,
        *,
        replace: bool,
        live: bool = False,
        retention: Retention | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._suffix = suffix
        self._replace = replace
        # One short text per file of a folder source; a camera's frames have no names and are not kept here.
        self._taken: dict[PurePosixPath, str] = {}
        self._run = uuid.uuid4().hex[:8] if live else ""
        self._shelf = ""
        if retention is not None and not live:
            raise InputError("a retention was given for results of files, which are all kept", mend="Leave it out")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"the output folder {self.folder} cannot be made: {error.strerror or error}",
                mend="Name a folder that can be written to",
            ) from error
        self._root = self.folder.resolve()
        self._keeper = self._keep(retention or LIVE_RETENTION) if live else None

    def path_of(self, frame: Frame, part_id: str = "") -> str:
        """Where this frame's file goes; its folder exists afterwards. From any thread.

        Raises:
            InputError: the name leads out of the folder, or two frames would share one file.
        """
        if self._run:
            return self._live_path(frame, part_id)
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
        return str(path)

    def make_room(self, path: str, need: int) -> None:
        """Before a camera's file of at most `need` bytes is written to `path`: the oldest ones go.

        Raises:
            InputError: there is no room within the limits.
        """
        if self._keeper is None:
            return
        folder = os.path.dirname(path)  # noqa: PTH120  wholefile.py says why
        if folder != self._shelf:
            try:
                Path(folder, MARKER).touch()
            except OSError as error:
                raise InputError(
                    f"the folder {folder} cannot be written to: {error.strerror or error}", mend="Free space"
                ) from error
            self._shelf = folder
            self._keeper.add_shelf(Path(folder).name)
        self._keeper.admit(need)

    def written(self, path: str, size: int) -> None:
        """After a file of `size` bytes was written: it counts from now on."""
        if self._keeper is not None:
            folder, name = os.path.split(path)
            self._keeper.add(name, size, os.path.split(folder)[1])

    def close(self) -> None:
        """Let go of the folder; twice is harmless."""
        if self._keeper is not None:
            self._keeper.close()

    def _keep(self, retention: Retention) -> Keeper:
        suffix = re.escape(self._suffix)
        return Keeper(
            self.folder,
            retention,
            re.compile(rf"({_NAME}).*{suffix}"),
            shelves=_SHELVES,
            marker=MARKER,
            leftovers=re.compile(rf"\.{_NAME}.*{suffix}{LEFTOVER}"),
        )

    def _live_path(self, frame: Frame, part_id: str) -> str:
        utc = frame.t_capture.astimezone(timezone.utc)
        start = utc.replace(minute=utc.minute // _MINUTES * _MINUTES)
        folder = f"{self._root}/{start:%Y%m%dT%H%MZ}-{self._run}"
        try:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103  wholefile.py says why
        except OSError as error:
            raise InputError(
                f"the folder {folder} cannot be made: {error.strerror or error}", mend="Check the output folder"
            ) from error
        if os.path.islink(folder):  # noqa: PTH114  as above
            raise self._escapes(folder)
        part = f"_{safe_part(part_id)}" if part_id else ""
        return f"{folder}/{moment(utc)}_{frame.frame_id:08d}{part}{self._suffix}"

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
