"""All recipes of a line: chosen by name or by a PLC's index, looked at again between frames.

Knows a file or a folder of them, and how an edit becomes the recipe in force: whole, valid and unlike every other, or
not at all. Does not know what stands in a recipe.
"""

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from diffad_runtime.errors import InputError, RecipeError
from diffad_runtime.recipes.load import ignore_image_names, load_recipe
from diffad_runtime.recipes.recipe import Recipe
from diffad_runtime.tomlfile import SUFFIX

MOST_RECIPES: Final = 1000

_Stamp = tuple[tuple[int, ...] | None, ...]
"""Of a recipe file and its pictures: (inode, size, mtime in ns), or None where there is no such file."""


class RecipeBook:
    """Recipes by name and index. `get` and `refresh` may be called from any thread; a recipe never changes.

    Made by `open`.
    """

    def __init__(
        self, path: Path, *, every_s: float = 0.5, settle_s: float = 0.2, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._every_s, self._settle_s, self._clock = every_s, settle_s, clock
        self._lock = threading.Lock()
        self._pictures: dict[Path, tuple[str, ...]] = {}
        self._read: dict[Path, _Stamp] = {}
        self._waiting: dict[Path, tuple[_Stamp | None, float]] = {}
        self._told: dict[Path, str] = {}
        self._held: Mapping[Path, Recipe] = {}
        self._chosen: tuple[tuple[Recipe, ...], dict[str | int, Recipe]] = ((), {})
        self._looked = clock()
        self.generation = 0

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        every_s: float = 0.5,
        settle_s: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> "RecipeBook":
        """Read a recipe, or all recipes of a folder (NAME.toml directly in it, hidden ones ignored).

        Args:
            path: the file or folder.
            every_s: how often `refresh` looks at the disk, seconds.
            settle_s: how long an edited file must lie still before it is read, seconds: an editor may write it in
                pieces.
            clock: monotonic, seconds.

        Raises:
            InputError: no recipe there, one that is not valid, two of the same name or index.
        """
        path = Path(path)
        book = cls(path, every_s=every_s, settle_s=settle_s, clock=clock)
        found = book._find()
        if not found:
            raise InputError(f"there is no recipe at {path}, expected NAME{SUFFIX}", mend="Check the path")
        held = {}
        for file in found:
            book._pictures[file] = ignore_image_names(file)
            book._read[file] = book._stamp(file)
            held[file] = load_recipe(file)
        clash = _clash(held, held)
        if clash is not None:
            raise InputError(clash[1], mend="Change one of them")
        book._hold(held)
        return book

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """All of them, by file name."""
        return self._chosen[0]

    def get(self, key: str | int | None = None) -> Recipe:
        """One recipe.

        Args:
            key: its name, or its index as a number or in digits; None where there is but one.

        Raises:
            RecipeError: there is no such recipe, or None of several.
        """
        recipes, by_key = self._chosen
        if key is None and len(recipes) == 1:
            return recipes[0]
        if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 5:
            key = int(key)
        if key is not None and not isinstance(key, bool) and key in by_key:
            return by_key[key]
        known = ", ".join(
            recipe.name if recipe.index is None else f"{recipe.name} ({recipe.index})" for recipe in recipes
        )
        what = "no recipe was named" if key is None else f"there is no recipe {key!r:.80}"
        raise RecipeError(f"{what}, expected one of: {known:.400}", mend="Name one of them, or add its file")

    def refresh(self) -> tuple[str, ...]:
        """Look whether files changed, and take in what is whole and valid. Cheap enough to be called between frames.

        A recipe whose file is broken, or takes another's name or index, stays as it was. One whose file is gone is
        dropped, but the last ones are kept. `generation` grows with every change that was taken in.

        Returns:
            Lines to warn of, each fault once.
        """
        now = self._clock()
        if now - self._looked < self._every_s:
            return ()
        with self._lock:
            self._looked = now
            try:
                found = {file: self._stamp(file) for file in self._find()}
            except InputError as error:
                return self._warn(self.path, f"recipes at {self.path} cannot be read and stay as they are: {error}")
            if not found:
                return self._warn(self.path, f"there is no recipe left at {self.path}; those read before stay in force")
            self._told.pop(self.path, None)
            ready = self._settled(found, now)
            return tuple(self._take_in(ready)) if ready else ()

    def _hold(self, held: Mapping[Path, Recipe]) -> None:
        """Swap in all at once: whoever chooses meanwhile sees the old recipes or the new ones."""
        recipes = tuple(held[file] for file in sorted(held))
        names: dict[str | int, Recipe] = {recipe.name: recipe for recipe in recipes}
        indices: dict[str | int, Recipe] = {recipe.index: recipe for recipe in recipes if recipe.index is not None}
        self._held, self._chosen = held, (recipes, {**names, **indices})

    def _settled(self, found: Mapping[Path, _Stamp], now: float) -> list[Path]:
        """Files that differ from what was read, and have lain still for long enough."""
        current: dict[Path, _Stamp | None] = {**dict.fromkeys(self._read), **found}
        changed = {file: stamp for file, stamp in current.items() if self._read.get(file) != stamp}
        self._waiting = {
            file: self._waiting[file] if self._waiting.get(file, (0, 0))[0] == stamp else (stamp, now)
            for file, stamp in changed.items()
        }
        return sorted(file for file, (_, since) in self._waiting.items() if now - since >= self._settle_s)

    def _take_in(self, ready: Iterable[Path]) -> list[str]:
        warnings: list[str] = []
        fresh: dict[Path, Recipe] = {}
        gone: set[Path] = set()
        for file in ready:
            if self._waiting.pop(file)[0] is None:
                gone.add(file)
                self._read.pop(file, None)
                self._told.pop(file, None)
                continue
            self._pictures[file] = ignore_image_names(file)
            stamp = self._stamp(file)
            try:
                recipe = load_recipe(file)
            except InputError as error:
                warnings += self._refuse(file, str(error))
            else:
                if stamp == self._stamp(file):  # not written to while it was read
                    fresh[file] = recipe
            self._read[file] = stamp
        old = {file: recipe for file, recipe in self._held.items() if file not in gone}
        while (clash := _clash({**old, **fresh}, fresh)) is not None:
            file, what = clash
            del fresh[file]
            self._read[file] = ()  # tried again, as the other may make room
            warnings += self._refuse(file, f"{what}. Change one of them.")
        for file in fresh:
            self._told.pop(file, None)
        if old or fresh:  # what is left of a folder may be broken files alone
            lost = sorted(file for file in gone if file in self._held)
            warnings += [f"recipe {self._held[file].name!r} is gone with its file {file}" for file in lost]
        if (fresh or gone) and (held := {**old, **fresh}):
            self._hold(held)
            self.generation += 1
        return warnings

    def _refuse(self, file: Path, why: str) -> tuple[str, ...]:
        what = f"recipe {self._held[file].name!r} stays as it was" if file in self._held else f"{file.name} is left out"
        return self._warn(file, f"{what}: {why}")

    def _warn(self, about: Path, line: str) -> tuple[str, ...]:
        if self._told.get(about) == line:
            return ()
        self._told[about] = line
        return (line,)

    def _find(self) -> list[Path]:
        try:
            if self.path.is_dir():
                with os.scandir(self.path) as entries:
                    names = [e.name for e in entries if e.name.lower().endswith(SUFFIX) and not e.name.startswith(".")]
                files = [self.path / name for name in sorted(names)]
            else:
                files = [self.path]
            found = [file for file in files if stat.S_ISREG(_mode(file))]
        except (OSError, ValueError) as error:
            raise InputError(f"cannot look at {self.path}: {error}", mend="Check the path") from None
        if len(found) > MOST_RECIPES:
            raise InputError(
                f"{len(found)} recipes at {self.path}, expected {MOST_RECIPES} at most", mend="Remove some"
            )
        return found

    def _stamp(self, file: Path) -> _Stamp:
        return tuple(_identity(path) for path in (file, *(file.parent / name for name in self._pictures.get(file, ()))))


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except FileNotFoundError:
        return 0


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _clash(held: Mapping[Path, Recipe], suspects: Mapping[Path, Recipe]) -> tuple[Path, str] | None:
    """A file of `suspects` whose recipe has another's name or index, and what to say of it."""
    names: dict[str, Path] = {}
    indices: dict[int, Path] = {}
    for file in sorted(held, key=lambda file: (file in suspects, file)):
        recipe = held[file]
        if recipe.name in names:
            return file, f"{file} and {names[recipe.name]} are both called {recipe.name!r}"
        if recipe.index is not None and recipe.index in indices:
            return file, f"{file} and {indices[recipe.index]} both have the index {recipe.index}"
        names[recipe.name] = file
        if recipe.index is not None:
            indices[recipe.index] = file
    return None
