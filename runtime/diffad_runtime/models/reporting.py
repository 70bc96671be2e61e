"""All that is known of a models folder, for people and machines. Changes nothing and takes no lock.

Knows the folder and what to say of it. Does not know how it is shown.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.models.folder import Folder
from diffad_runtime.models.state import Event, Generation, Measured, State


@dataclass(frozen=True, slots=True)
class GenerationStatus:
    """One generation.

    Attributes:
        role: "current", "previous" or "trial".
        number, model_id, version, digest, size_bytes: of it.
        key_id: that signed it, "" where that was not checked when it was installed.
        installed, committed: UTC; "": not yet.
        path: of the bundle.
        fault: why the file is not fit to run, "" where it is whole, or was not looked at.
        measured: {"parts", "ng", "p99_ms"} of its own trial, None where that was not measured.
    """

    role: str
    number: int
    model_id: str
    version: int
    digest: str
    size_bytes: int
    key_id: str
    installed: str
    committed: str
    path: Path
    fault: str
    measured: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class ModelsStatus:
    """A models folder.

    Attributes:
        folder: of models.
        generations: trial, current, previous, those that there are; the first is the one that `active` tries first.
        starts: of the trial, since it last showed that it is well.
        floors: {model id: lowest version that may run}.
        highest: {model id: highest version that was committed}.
        events: (time, what, text), the oldest first.
        faults: what is wrong with the folder's own files, one line each.
    """

    folder: Path
    generations: tuple[GenerationStatus, ...]
    starts: int
    floors: dict[str, int]
    highest: dict[str, int]
    events: tuple[tuple[str, str, str], ...]
    faults: tuple[str, ...]

    @property
    def running(self) -> GenerationStatus | None:
        """The one that a start would run, None where there is none."""
        return next((one for one in self.generations if not one.fault), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = asdict(self)
        plain["folder"] = str(self.folder)
        for one in plain["generations"]:
            one["path"] = str(one["path"])
        plain["generations"], plain["events"] = list(plain["generations"]), [list(one) for one in plain["events"]]
        plain["faults"] = list(self.faults)
        return plain


def status(folder: str | Path, *, verify: bool = True) -> ModelsStatus:
    """What is in a models folder.

    Args:
        folder: of models.
        verify: read every bundle and verify it, which takes a moment for each.

    Raises:
        InputError: no model was ever installed there.
        DataError: the state is lost.
    """
    home = Folder(folder)
    home.check_there()
    state, found = home.read()
    faults = [*found]
    try:
        seen = home.versions()
    except InputError as error:
        seen = {}
        faults.append(error.what)
    return ModelsStatus(
        folder=home.path,
        generations=tuple(_generation(home, state, one, verify) for one in state.kept),
        starts=state.starts,
        floors={name: one.floor for name, one in seen.items()},
        highest={name: one.highest for name, one in seen.items()},
        events=tuple(_event(one) for one in state.events),
        faults=tuple(faults),
    )


def _generation(home: Folder, state: State, one: Generation, verify: bool) -> GenerationStatus:
    role = "trial" if one is state.trial else "current" if one is state.current else "previous"
    fault = ""
    if verify:
        try:
            home.open(one)
        except BundleError as error:
            fault = error.what
    return GenerationStatus(
        role=role,
        number=one.number,
        model_id=one.model_id,
        version=one.version,
        digest=one.digest,
        size_bytes=one.size_bytes,
        key_id=one.key_id,
        installed=one.installed,
        committed=one.committed or "",
        path=home.file(one),
        fault=fault,
        measured=None if one.measured is None else _measured(one.measured),
    )


def _measured(one: Measured) -> dict[str, float]:
    return {"parts": one.parts, "ng": one.ng, "p99_ms": one.p99_ms}


def _event(one: Event) -> tuple[str, str, str]:
    return one.time, one.what, one.text
