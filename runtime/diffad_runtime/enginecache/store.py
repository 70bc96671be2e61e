"""A folder of plans, each with its side file.

Knows names, hashes, owners, and how a file appears whole or not at all. Does not know TensorRT.

    engines/extractor.int8-trt.0123456789abcdef.plan    the engine as TensorRT serialised it
    engines/extractor.int8-trt.0123456789abcdef.json    SideFile: its key, its SHA-256, what it is
    engines/extractor.int8-trt.0123456789abcdef-o5.plan with an option that was asked for
    engines/....plan.refused                            set aside: it could not be used; the newest of its name
    timings/0123456789abcdef.cache                      TensorRT's timing cache of this device

The side file is written last, so a plan without one is not there. A plan is native code: whoever can write one can run
anything in this process. So it is taken only from a folder and a file that nobody else may write to.
"""

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from diffad_runtime.atomic import replacing
from diffad_runtime.enginecache.key import About, DeviceFacts, EngineKey, SideFile
from diffad_runtime.enginecache.location import cache_folder
from diffad_runtime.errors import InputError
from diffad_runtime.trust.ownership import others_may_write

_KEPT_OF_EACH = 2  # generations of one graph: the engine in use, and the one before for a way back
_WAIT_S = 0.1
_STALE_S = 3600.0  # a temporary file this old belongs to nobody any more


@dataclass(frozen=True, slots=True)
class Kept:
    """An engine in the folder.

    Attributes:
        path: of the plan.
        side: contents of its side file; None where there is none that can be read.
        size_bytes: of the plan.
        used: when it was last taken, seconds since the epoch.
        fault: why it would not be taken, "" where nothing is known against it.
    """

    path: Path
    side: SideFile | None
    size_bytes: int
    used: float
    fault: str


class EngineStore:
    """Plans in one folder. Several processes may share it.

    Args:
        folder: made where it is missing.
        also: another such folder that is looked into, and never written to: that of an image with a read-only system.

    Raises:
        InputError: the folder cannot be written to, or others may write to it.
    """

    def __init__(self, folder: Path, also: Path | None = None) -> None:
        self.folder = folder
        self._also = None if also is None else also / "engines"
        self._engines, self._timings = folder / "engines", folder / "timings"
        try:
            for made in (self._engines, self._timings):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._engines):
                pass  # permission bits do not tell of a read-only mount
        except OSError as error:
            raise InputError(
                f"the engine cache {folder} cannot be used: {error.strerror or error}", mend=_NAME_ANOTHER
            ) from error
        for made in (self._engines, self._timings):
            if fault := others_may_write(made):
                raise InputError(f"the engine cache {folder} is not safe: {fault}", mend=_NAME_ANOTHER)
        self._sweep()

    def find(self, key: EngineKey, about: About) -> tuple[bytes | None, str]:
        """(The plan, "") where one is whole and may be taken for this key, else (None, why not; "": none is there).

        Of several that were built with different options the one used last is taken. A faulty one is set aside.
        """
        first = ""
        for plan in self._candidates(key, about):
            data, fault = _checked(plan, key)
            if data is not None:
                with suppress(OSError):
                    os.utime(plan)  # last use: the oldest go first
                return data, ""
            first = first or fault
            if plan.parent == self._engines:
                _set_aside(plan)
        return None, first

    def keep(self, key: EngineKey, about: About, plan: bytes) -> Path:
        """Write a plan and its side file, then drop older generations of the same graph.

        Raises:
            InputError: the disk refused; nothing half-written stays.
        """
        path = self._plan(key, about)
        side = SideFile(
            key=key,
            about=about,
            built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            plan_sha256=hashlib.sha256(plan).hexdigest(),
            plan_bytes=len(plan),
        )
        with suppress(OSError):  # where it cannot be removed, nothing can be written either
            _side_of(path).unlink(missing_ok=True)  # of an older plan: must not stand beside this one
        _write(path, plan)
        try:
            _write(_side_of(path), side.model_dump_json(indent=2).encode())
        except InputError:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        self._forget_older(about)
        return path

    def refuse(self, key: EngineKey, about: About) -> None:
        """Set aside what `find` would give: TensorRT did not take it. One of each name stays, to be looked at."""
        for plan in self._candidates(key, about)[:1]:
            _set_aside(plan)

    def timings(self, device: DeviceFacts) -> bytes:
        """The timing cache of this device, b"" where there is none."""
        path = self._timings / f"{device.name}.cache"
        if others_may_write(path):
            return b""
        try:
            return path.read_bytes()
        except OSError:
            return b""

    def keep_timings(self, device: DeviceFacts, timings: bytes) -> None:
        """Keep it for the next build. A full disk is no reason to fail: it only saves time."""
        with suppress(InputError):
            _write(self._timings / f"{device.name}.cache", timings)

    @contextmanager
    def building(
        self, wait: Callable[[], None] = lambda: None, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """One builder at a time: two at once would time each other's kernels, and fill the memory of a small board.

        Args:
            wait: called once where another process is at it.
            cancelled: asked while waiting.

        Raises:
            KeyboardInterrupt: `cancelled` said so.
            InputError: the folder is gone, or not to be written to any more.
        """
        try:
            lock = (self.folder / "building.lock").open("a")
        except OSError as error:
            raise InputError(
                f"the engine cache {self.folder} cannot be used: {error.strerror or error}", mend=_NAME_ANOTHER
            ) from error
        with lock:
            told = False
            while not _locked(lock.fileno()):
                if not told:
                    wait()
                    told = True
                if cancelled():
                    raise KeyboardInterrupt
                time.sleep(_WAIT_S)
            yield

    def _plan(self, key: EngineKey, about: About) -> Path:
        return self._engines / f"{_stem(about)}.{key.name}.plan"

    def _candidates(self, key: EngineKey, about: About) -> list[Path]:
        """Plans that `key` may be meant by, by last use, the folder of its own first."""
        found: list[Path] = []
        for folder in (self._engines, self._also):
            if folder is None or (folder is self._also and others_may_write(folder)):
                continue
            alike = folder.glob(f"{_stem(about)}.{key.facts_name}*.plan")
            found += sorted((plan for plan in alike if _named(plan, key)), key=_used, reverse=True)
        return found

    def _forget_older(self, about: About) -> None:
        same = [
            kept
            for kept in kept_engines(self.folder)
            if kept.side is not None
            and (kept.side.about.model_id, kept.side.about.graph, kept.side.about.variant)
            == (about.model_id, about.graph, about.variant)
        ]
        for kept in same[_KEPT_OF_EACH:]:
            for path in (_side_of(kept.path), kept.path):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Temporary files of a process that was killed; plans whose side file was never written."""
        now = time.time()
        orphans = (plan for plan in self._engines.glob("*.plan") if not _side_of(plan).exists())
        for path in [*self._engines.glob(".*.tmp*"), *self._timings.glob(".*.tmp*"), *orphans]:
            with suppress(OSError):
                if now - path.stat().st_mtime > _STALE_S:
                    path.unlink()


_NAME_ANOTHER = "Name another folder with --cache DIR, one that only you may write to"


def kept_engines(folder: Path) -> list[Kept]:
    """All plans in a folder of engines, by last use, newest first; [] where there is no such folder."""
    return sorted((_read(path) for path in (folder / "engines").glob("*.plan")), key=lambda kept: -kept.used)


def open_store(folder: Path | None, warn: Callable[[str], None]) -> EngineStore:
    """The store in a folder, or where that cannot be used, in one that lasts until the next start of the machine.

    Args:
        folder: None: the user's cache folder.
        warn: is told a line where the second best is taken.

    Raises:
        InputError: neither can be used.
    """
    chosen = cache_folder() if folder is None else folder
    try:
        return EngineStore(chosen)
    except InputError as error:
        second = Path(tempfile.gettempdir()) / f"diffad-edge-{os.geteuid()}"
        store = EngineStore(second, also=chosen)
        warn(f"{error.what}; engines are kept in {second}, which the next start of the machine may empty. {error.mend}")
        return store


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _checked(plan: Path, key: EngineKey) -> tuple[bytes | None, str]:
    """(Its bytes, "") or (None, why it must not be taken)."""
    kept = _read(plan)
    if kept.fault or kept.side is None:
        return None, kept.fault
    if not key.accepts(kept.side.key):
        return None, "its side file is that of another device, version, graph or option"
    try:
        data = plan.read_bytes()
    except OSError as error:
        return None, f"it cannot be read: {error.strerror or error}"
    if hashlib.sha256(data).hexdigest() != kept.side.plan_sha256:
        return None, "its SHA-256 is not the one of its side file"
    return data, ""


def _read(plan: Path) -> Kept:
    """A plan's facts, its bytes left unread."""
    try:
        status = plan.stat()
    except OSError as error:
        return Kept(plan, None, 0, 0.0, f"it cannot be read: {error.strerror or error}")
    side, fault = None, others_may_write(plan) or others_may_write(_side_of(plan))
    try:
        side = SideFile.model_validate_json(_side_of(plan).read_bytes(), strict=True)
    except FileNotFoundError:
        fault = "its side file is missing"
    except OSError as error:
        fault = f"its side file cannot be read: {error.strerror or error}"
    except ValidationError:
        fault = "its side file is not valid"
    if side is not None and not fault and side.plan_bytes != status.st_size:
        fault = f"it has {status.st_size} bytes, its side file says {side.plan_bytes}"
    return Kept(plan, side, status.st_size, status.st_mtime, fault)


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)


def _side_of(plan: Path) -> Path:
    return plan.with_suffix(".json")


def _stem(about: About) -> str:
    """The graph, and the variant's name with all but letters, digits and hyphens made hyphens."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in about.variant)
    return f"{about.graph}.{plain}"


def _named(plan: Path, key: EngineKey) -> bool:
    """Whether the options in a plan's name are those asked for; all are where none is."""
    options = plan.stem.rpartition(".")[2].split("-")[1:]
    asked = key.name.split("-")[1:]
    return all(option in options for option in asked)


def _used(plan: Path) -> float:
    try:
        return plan.stat().st_mtime
    except OSError:
        return 0.0


def _set_aside(plan: Path) -> None:
    with suppress(OSError):
        _side_of(plan).unlink(missing_ok=True)
    with suppress(OSError):
        plan.replace(plan.with_name(plan.name + ".refused"))
