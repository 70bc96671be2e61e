"""Which generation of a model is what: a state machine without files, and the one small file that holds its state.

Knows the rules of install, commit, rollback and start as pure functions. Does not know the disk, locks or signatures.

    nothing --install--> trial --commit--> current                          its own trial first, the first one too
    current --install--> current + trial --commit--> new current + previous the previous before that one is dropped
                                         --rollback--> current              as before the install
    current + previous --rollback--> previous is current                    what it was rolled back from is dropped
    current is damaged --start--> previous is current
    trial started too often without a sign of health --start--> current     only where there is a current

Once a generation was committed there is always a current one.
"""

import json
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from typing_extensions import Self

from diffad_runtime.bundle.strictjson import one_line, parse_object
from diffad_runtime.errors import BundleError, InputError

MOST_EVENTS: Final = 20
MOST_BYTES: Final = 1 << 18
_Stamp = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
_MOST_TEXT = 400


class _Strict(BaseModel):
    # Pydantic 2.7 would warn of `model_id`.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Measured(_Strict):
    """What a generation did while it was on trial: what the next one is held against."""

    parts: int = Field(ge=1, description="judged, without ERROR")
    ng: int = Field(ge=0)
    p99_ms: float = Field(gt=0, description="of the judgement, without waiting")


class Generation(_Strict):
    """A bundle in the folder. `number` counts installs and is never used again."""

    number: int = Field(ge=1)
    model_id: str = Field(min_length=1, max_length=120)
    version: int = Field(ge=1)
    digest: str = Field(pattern="^[0-9a-f]{64}$", description="of the bundle's manifest")
    size_bytes: int = Field(ge=1)
    key_id: str = Field(pattern="^([0-9a-f]{16})?$", description="that signed, empty where that was not checked")
    installed: _Stamp
    committed: _Stamp | None = None
    measured: Measured | None = None

    @property
    def file(self) -> str:
        """Its name in the folder of generations."""
        return f"{self.number:06d}.diffad"

    def text(self) -> str:
        """For people, as in "generation 7 (flange, version 3)"."""
        return f"generation {self.number} ({self.model_id}, version {self.version})"


class Event(_Strict):
    """Something that happened, for people."""

    time: _Stamp
    what: Literal["installed", "committed", "rolled back", "fell back"]
    text: str = Field(max_length=_MOST_TEXT)


class State(_Strict):
    """All that is known of the folder. `serial` grows with every change; `starts` are those of the trial since it was
    installed, or since it last showed that it is well."""

    schema_version: Literal[1] = 1
    serial: int = Field(ge=0, default=0)
    next_number: int = Field(ge=1, default=1)
    current: Generation | None = None
    previous: Generation | None = None
    trial: Generation | None = None
    starts: int = Field(ge=0, default=0)
    events: tuple[Event, ...] = Field(max_length=MOST_EVENTS, default=())

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        numbers = [one.number for one in self.kept]
        if len(set(numbers)) != len(numbers) or any(number >= self.next_number for number in numbers):
            raise ValueError("generations do not count up")
        if self.previous is not None and self.current is None:
            raise ValueError("a previous generation without a current one")
        if any(one is not None and one.committed is None for one in (self.current, self.previous)):
            raise ValueError("a generation in force that was never committed")
        if self.trial is None and self.starts:
            raise ValueError("starts of a trial that there is not")
        return self

    @property
    def kept(self) -> tuple[Generation, ...]:
        """All generations whose files are needed, the one to run first."""
        return tuple(one for one in (self.trial, self.current, self.previous) if one is not None)

    @property
    def committed(self) -> tuple[Generation, ...]:
        """Those that were committed, the newest first."""
        return tuple(one for one in (self.current, self.previous) if one is not None)

    @property
    def wanted(self) -> Generation | None:
        """The one to run: the trial where there is one."""
        return self.trial or self.current


def with_trial(state: State, generation: Generation, now: str, text: str = "") -> State:
    """A new generation is to be tried.

    Raises:
        InputError: another one is on trial.
    """
    if state.trial is not None:
        raise InputError(f"{state.trial.text()} is still on trial", mend="Commit it or roll it back first")
    told = f"{generation.text()} is on trial{f': {text}' if text else ''}"
    return _next(state, "installed", told, now, trial=generation, next_number=generation.number + 1, starts=0)


def with_commit(state: State, now: str, measured: Measured | None = None, text: str = "") -> State:
    """The trial is in force, what was in force is the previous one, and what was before that is dropped.

    Raises:
        InputError: nothing is on trial.
    """
    if state.trial is None:
        raise InputError("nothing is on trial", mend="Install a bundle first")
    told = f"{state.trial.text()} is in force{f': {text}' if text else ''}"
    taken = state.trial.model_copy(update={"committed": now, "measured": measured})
    return _next(state, "committed", told, now, current=taken, previous=state.current, trial=None, starts=0)


def with_rollback(state: State, now: str, text: str = "") -> State:
    """The trial is dropped; where there is none, the current generation is, for the previous one.

    Raises:
        InputError: there is neither a trial nor a previous generation.
    """
    why = f": {text}" if text else ""
    if state.trial is not None:
        told = f"{state.trial.text()} was dropped{why}"
        return _next(state, "rolled back", told, now, trial=None, starts=0)
    if state.previous is None or state.current is None:
        raise InputError("there is no generation to go back to", mend="Install a bundle")
    told = f"from {state.current.text()} to {state.previous.text()}{why}"
    return _next(state, "rolled back", told, now, current=state.previous, previous=None)


def with_start(state: State) -> State:
    """The trial is being started once more.

    Raises:
        InputError: nothing is on trial.
    """
    if state.trial is None:
        raise InputError("nothing is on trial", mend="Install a bundle first")
    return _changed(state, starts=state.starts + 1)


def with_health(state: State) -> State:
    """The trial showed that it is well: its starts are forgotten."""
    return _changed(state, starts=0)


def with_fallback(state: State, now: str, text: str) -> State:
    """The current generation is damaged, and the previous one takes its place.

    Raises:
        InputError: there is no previous one.
    """
    if state.current is None or state.previous is None:
        raise InputError("there is no generation to fall back to", mend="Install a bundle")
    told = f"from {state.current.text()} to {state.previous.text()}: {text}"
    return _next(state, "fell back", told, now, current=state.previous, previous=None)


def parse_state(raw: bytes, name: str) -> State:
    """Read the file.

    Raises:
        InputError: damaged.
    """
    try:
        parse_object(raw, name)  # no key twice, no NaN
        return State.model_validate_json(raw, strict=True)
    except ValidationError as error:
        raise InputError(f"{name} is damaged: {one_line(error)}", mend="Restore it, or install again") from error
    except BundleError as error:
        raise InputError(f"{name} is damaged: {error.what}", mend="Restore it, or install again") from error


def state_bytes(state: State) -> bytes:
    """The file for this state."""
    return json.dumps(state.model_dump(mode="json"), indent=2).encode("ascii") + b"\n"


def _next(state: State, what: str, text: str, now: str, **changes: object) -> State:
    # Reasons come from anywhere, and a file with a control character in it would not be read again.
    plain = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    told = {"time": now, "what": what, "text": plain[:_MOST_TEXT]}
    event = Event.model_validate(told)
    return _changed(state, events=(*state.events, event)[-MOST_EVENTS:], **changes)


def _changed(state: State, **changes: object) -> State:
    # model_copy checks nothing, and what cannot be read again must not be written.
    made = state.model_copy(update={**changes, "serial": state.serial + 1})
    return parse_state(state_bytes(made), "the new state")
