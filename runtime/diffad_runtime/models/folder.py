"""One models folder on the disk: its state in two copies, its generations, how old a model may be, what a kill left.

Knows files and the order in which they are written. Does not know when anything is installed, committed or started.

    /var/lib/diffad-edge/models/     belongs to who runs it; nobody else may write here
        state.json, state.twin.json  state.py, the same twice; of two that are whole the later serial counts
        versions.json                trust/versions.py
        generations/000007.diffad    the bundles that the state names, and nothing else
        state.lock, install.lock     locks.py

What is written first: a generation, then the state that names it, then its twin, then versions.json, and only then is
anything removed that the state no longer names. Each is on the disk before the next begins, so that whatever moment the
power goes, the state that is found names whole files.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.bundle.container import pack
from diffad_runtime.errors import BundleError, DataError, InputError
from diffad_runtime.models.disk import TEMPORARY, Disk, temporary_beside
from diffad_runtime.models.locks import INSTALL, STATE, held, held_if_free
from diffad_runtime.models.state import MOST_BYTES, Generation, State, parse_state, state_bytes
from diffad_runtime.trust.ownership import others_may_write
from diffad_runtime.trust.versions import FILE as VERSIONS
from diffad_runtime.trust.versions import Committed, Seen, raised, read_versions, versions_bytes

STATE_FILES: Final = ("state.json", "state.twin.json")
_SUFFIX = ".diffad"
_OWN_NAMES = re.compile(rf"[0-9]{{6,}}\{_SUFFIX}|\..*\{TEMPORARY}")
_SPARE_BYTES = 1 << 20
"""Left free beside a new generation, for the state and its neighbours."""


class Folder:
    """A models folder. Nothing is kept in memory: every question is asked of the disk.

    Args:
        path: of the folder; a link to one is followed.
        disk: does what is done to files.
    """

    def __init__(self, path: str | Path, disk: Disk | None = None) -> None:
        self.path = Path(path).resolve()
        self.generations = self.path / "generations"
        self.versions_file = self.path / VERSIONS
        self.disk = disk or Disk()

    def prepare(self) -> None:
        """Make what is missing, down to an empty state.

        Raises:
            InputError: the disk refused, or others may write there.
        """
        with self._told("make"):
            if not self.generations.is_dir():
                self.disk.make_folder(self.path)
                self.disk.make_folder(self.generations)
                self.disk.sync_folder(self.path.parent)
        self.check_owner()
        with self.changing():
            if not any((self.path / name).exists() for name in STATE_FILES):
                self.write(self.read()[0])

    def check_there(self) -> None:
        """Go on only where there is such a folder.

        Raises:
            InputError: there is none.
        """
        if not self.generations.is_dir():
            raise InputError(f"no model was ever installed in {self.path}", mend="Run: diffad-edge install")

    def check_owner(self) -> None:
        """Go on only where nobody else may change what lies here.

        Raises:
            InputError: there is no such folder, or others may write to it or to a file of it.
        """
        self.check_there()
        with self._told("look into"):
            files = [*self.generations.glob(f"*{_SUFFIX}"), *(self.path / name for name in (*STATE_FILES, VERSIONS))]
        for path in (self.path, self.generations, *files):
            if fault := others_may_write(path):
                raise InputError(
                    f"the models folder {self.path} is not safe: {fault}",
                    mend="Run as the user that owns it, and let nobody else write there (chmod go-w)",
                )

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody else changes the state meanwhile.

        Raises:
            InputError: somebody else did not end in time.
        """
        with held(self.path / STATE):
            yield

    @contextmanager
    def installing(self) -> Iterator[None]:
        """Nobody else installs meanwhile.

        Raises:
            InputError: somebody else does.
        """
        with held(self.path / INSTALL, patience_s=0.0):
            yield

    def read(self) -> tuple[State, tuple[str, ...]]:
        """The state, and what is wrong with its files, a line each.

        Raises:
            DataError: no copy of it can be used, while there are generations.
        """
        whole: list[State] = []
        faults: list[str] = []
        for name in STATE_FILES:
            path = self.path / name
            try:
                with path.open("rb") as file:
                    whole.append(parse_state(file.read(MOST_BYTES), name))
            except FileNotFoundError:
                faults.append(f"{name} is missing")
            except OSError as error:
                faults.append(f"{name} cannot be read: {error.strerror or error}")
            except InputError as error:
                faults.append(error.what)
        if whole:
            return max(whole, key=lambda state: state.serial), tuple(faults)
        fresh = all(fault.endswith(" is missing") for fault in faults)
        if fresh and not any(self.generations.glob(f"*{_SUFFIX}")):
            return State(), ()
        raise DataError(
            f"the state of the models folder {self.path} is lost: {'; '.join(faults)}",
            mend=f"Move {self.generations} and both state files away by hand, then install one of the bundles again",
        )

    def write(self, state: State) -> None:
        """Put a state in force.

        Raises:
            InputError: the disk refused; the old state stays in force.
        """
        data = state_bytes(state)
        with self._told("write the state of"):
            self.disk.replace(self.path / STATE_FILES[0], data)
        # The state is in force now. Where there is no room for its twin, the next one that there is room for mends it.
        with suppress(OSError):
            self.disk.replace(self.path / STATE_FILES[1], data)

    def mend_copies(self, state: State) -> None:
        """Make both copies this state, where one is not: somebody was killed between them, or it is damaged.

        Raises:
            InputError: the disk refused.
        """
        data = state_bytes(state)
        for path in (self.path / name for name in STATE_FILES):
            try:
                same = path.read_bytes() == data
            except OSError:
                same = False
            if not same:
                with self._told("write the state of"):
                    self.disk.replace(path, data)

    def versions(self) -> dict[str, Seen]:
        """How old a model may be.

        Raises:
            InputError: versions.json is damaged.
        """
        return read_versions(self.versions_file)

    def raise_versions(self, state: State) -> None:
        """Let versions.json follow the generations that are kept.

        Raises:
            InputError: it is damaged, or the disk refused.
        """
        before = self.versions()
        kept = tuple(Committed(one.model_id, one.version, one.digest) for one in state.committed)
        after = raised(before, kept)
        if after != before:
            with self._told("write how old a model may be in"):
                self.disk.replace(self.versions_file, versions_bytes(after))

    def file(self, generation: Generation) -> Path:
        """Where its bundle lies."""
        return self.generations / generation.file

    def open(self, generation: Generation) -> Bundle:
        """Its bundle, verified whole, and found to be the one that was installed.

        Raises:
            BundleError: missing, damaged, or another one.
        """
        path = self.file(generation)
        bundle = open_bundle(path)
        if bundle.digest != generation.digest:
            raise BundleError(
                f"bundle {path} is another one than was installed: digest {bundle.digest[:12]}..., expected "
                f"{generation.digest[:12]}...",
                mend="Install it again",
            )
        return bundle

    def stage(self, bundle: Bundle) -> Path:
        """Write a bundle under a temporary name among the generations; its data is on the disk.

        Raises:
            InputError: no room, or the disk refused; nothing is left behind.
        """
        needed = bundle.size_bytes + _SPARE_BYTES
        with self._told("look at"):
            free = self.disk.free_bytes(self.generations)
        if free < needed:
            raise InputError(
                f"no room for the bundle in {self.generations}: {needed} bytes are needed, {free} are free",
                mend="Free some space; the model in force goes on",
            )
        temporary = temporary_beside(self.generations / "incoming")
        try:
            with self._told("write a new generation to"):
                self.disk.write(temporary, pack(bundle.whole()))
        except BaseException:
            self.drop(temporary)
            raise
        return temporary

    def adopt(self, staged: Path, generation: Generation) -> None:
        """Give a staged bundle its name, for good.

        Raises:
            InputError: the disk refused.
        """
        with self._told("name a new generation in"):
            self.disk.rename(staged, self.file(generation))
            self.disk.sync_folder(self.generations)

    def drop(self, path: Path) -> None:
        """Remove a file; one that cannot be removed is swept later."""
        with suppress(OSError):
            self.disk.unlink(path)

    def sweep(self) -> None:
        """Remove what no state names: after a kill, a refusal, a commit. Call it with the state held.

        What an install is about to bring is left alone, and so is everything where the state cannot be read.
        """
        with held_if_free(self.path / INSTALL) as free:
            if free:
                self.sweep_as_installer()

    def sweep_as_installer(self) -> None:
        """As `sweep`, for whoever holds the install lock."""
        try:
            state, _ = self.read()
        except InputError:
            return
        named = {one.file for one in state.kept}
        with suppress(OSError):
            for path in (*self.generations.iterdir(), *self.path.glob(f".*{TEMPORARY}")):
                if path.name not in named and _OWN_NAMES.fullmatch(path.name) and not path.is_dir():
                    self.drop(path)

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"cannot {doing} the models folder {self.path}: {error.strerror or error}",
                mend="Check the folder, its permissions and free space; the model in force goes on",
            ) from error
