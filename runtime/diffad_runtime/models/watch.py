"""Is another generation wanted than the one that runs? Cheap enough to be asked between any two frames.

Knows one stat of one file. Does not know how engines are changed.
"""

import os

from diffad_runtime.errors import InputError
from diffad_runtime.models.folder import STATE_FILES, Folder
from diffad_runtime.models.starting import Active


class Watch:
    """Looks at a models folder for one running process. Not for several threads at once.

    Args:
        active: what runs.
    """

    def __init__(self, active: Active) -> None:
        self._home = Folder(active.folder)
        self._file = str(self._home.path / STATE_FILES[0])
        self.taken(active)

    def taken(self, active: Active) -> None:
        """This is what runs from now on: the answer to the state that it was made from, whatever that state wants."""
        self._running, self._answered = active.generation, active.serial
        self._known: tuple[int, int, int] | None = None
        self._wanted: int | None = None

    def wanted(self) -> int | None:
        """Number of the generation that is wanted: ask `active`, which may give another one where that is not fit, then
        call `taken`. None: the right one runs, or nobody can tell.

        The file is read only where its inode, size or time of change is another than at the last look.
        """
        try:
            status = os.stat(self._file)  # noqa: PTH116  a path that is text costs nothing at each look
        except OSError:
            return None
        now = (status.st_ino, status.st_size, status.st_mtime_ns)
        if now != self._known:
            try:
                state, _ = self._home.read()
            except InputError:
                return None
            self._known = now
            one = None if state.serial == self._answered else state.wanted
            self._wanted = None if one is None or one.number == self._running else one.number
        return self._wanted
