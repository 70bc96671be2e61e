"""Which images a worker was at when it died, kept in files, so that an image that kills workers cannot go on doing it.

Knows counts and what follows from them. Does not know Ray, which repeats the batch of a worker that died, as often as
it must, nor why a worker died.

A batch that is begun for the first time costs one small file. One that is begun again is gone through with care: each
image is noted before it is looked at. The last one noted is the one that the worker died at; after MOST such deaths it
is not looked at again. A batch with k such images is begun 1 + k * MOST + 1 times.
"""

from collections import Counter
from pathlib import Path
from typing import Final

MOST: Final = 2
_BEGUN = b"-"


class Attempt:
    """One run through a batch, by one worker.

    Args:
        path: of the batch's file; its folder is there and shared by all workers.

    Attributes:
        before: how often the batch was begun without an end.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            runs = [run.split() for run in path.read_bytes().split(_BEGUN)[1:]]
        except FileNotFoundError:
            runs = []
        self.before = len(runs)
        self._deaths = Counter(run[-1] for run in runs if run)
        self._note(_BEGUN)

    def killed_by(self, index: int) -> bool:
        """Whether this image killed too many workers; if not, it is noted: the caller looks at it now."""
        if not self.before:
            return False
        mark = str(index).encode()
        if self._deaths[mark] >= MOST:
            return True
        self._note(mark)
        return False

    def end(self) -> None:
        """All images of the batch are done."""
        self._path.unlink(missing_ok=True)

    def _note(self, mark: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(mark + b"\n")
