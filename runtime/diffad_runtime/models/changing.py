"""Commit and rollback: the two ways in which a trial ends, and the way back to the generation before.

Knows what must be whole before anything is given up. Does not know why (trial.py, or a person).
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.models.disk import Disk
from diffad_runtime.models.folder import Folder
from diffad_runtime.models.state import Generation, Measured, State, with_commit, with_health, with_rollback
from diffad_runtime.trust.signature import stamp


@dataclass(frozen=True, slots=True)
class Changed:
    """What is in force after a commit or a rollback.

    Attributes:
        what: "committed", "dropped" (the trial) or "rolled back" (to the previous generation).
        generation: that was committed, dropped, or rolled back from.
        model_id, version, digest: of it.
        current: number of the generation in force now; None: there is none, as the only one was dropped.
        previous: number of the one to which a rollback would go; None: there is none.
    """

    what: str
    generation: int
    model_id: str
    version: int
    digest: str
    current: int | None
    previous: int | None


def commit(
    folder: str | Path,
    *,
    generation: int | None = None,
    measured: Measured | None = None,
    reason: str = "by hand",
    disk: Disk | None = None,
) -> Changed:
    """Put the trial in force. What was in force becomes the previous generation; the one before that is removed.

    Args:
        folder: of models.
        generation: the trial's number, where it must be that very one; None: whichever is on trial.
        measured: what it did on trial, for the next one to be held against; None: nothing is known.
        reason: for the record.
        disk: does what is done to files; None: the real one.

    Raises:
        InputError: nothing, or another generation, is on trial; versions.json is damaged; the disk refused.
        BundleError: the trial's file is damaged; nothing was changed.
    """
    home = Folder(folder, disk)
    home.check_owner()
    with home.changing():
        state, _ = home.read()
        trial = _on_trial(state, generation)
        home.open(trial)
        home.versions()  # damaged: said before anything is changed
        after = with_commit(state, _now(), measured, reason)
        home.write(after)
        home.raise_versions(after)
        home.sweep()
    return _changed("committed", trial, after)


def rollback(
    folder: str | Path, reason: str = "by hand", *, generation: int | None = None, disk: Disk | None = None
) -> Changed:
    """Drop the trial; where there is none, go back from the generation in force to the previous one.

    What was rolled back from is removed. It can be installed again, that very bundle or a newer one.

    Args:
        folder: of models.
        reason: for the record.
        generation: the trial's number, where that very one is to be dropped and nothing else; None: as above.
        disk: does what is done to files; None: the real one.

    Raises:
        InputError: there is nothing to go back to, another generation is on trial, or the disk refused.
        BundleError: what it would go back to is damaged; nothing was changed.
    """
    home = Folder(folder, disk)
    home.check_owner()
    with home.changing():
        state, _ = home.read()
        dropped = _on_trial(state, generation) if generation is not None else state.trial or state.current
        after = with_rollback(state, _now(), reason)
        _check_one_whole(home, after)
        home.write(after)
        home.sweep()
    assert dropped is not None  # with_rollback would have raised
    return _changed("rolled back" if state.trial is None else "dropped", dropped, after)


def steady(folder: str | Path, generation: int, *, disk: Disk | None = None) -> None:
    """The trial shows that it is well, so its starts so far do not count against it; nothing where it is no trial.

    Raises:
        InputError: the folder cannot be used.
    """
    home = Folder(folder, disk)
    with home.changing():
        state, _ = home.read()
        if state.trial is not None and state.trial.number == generation and state.starts:
            home.write(with_health(state))


def _on_trial(state: State, number: int | None) -> Generation:
    if state.trial is None or (number is not None and state.trial.number != number):
        found = "nothing is on trial" if state.trial is None else f"{state.trial.text()} is on trial"
        raise InputError(f"{found}{'' if number is None else f', not generation {number}'}", mend="See the status")
    return state.trial


def _check_one_whole(home: Folder, state: State) -> None:
    """Whatever is given up, a whole model stays, where one was ever committed."""
    faults = []
    for one in state.committed:
        try:
            home.open(one)
        except BundleError as error:
            faults.append(error.what)
        else:
            return
    if faults:
        raise BundleError(f"there is no whole model to go back to: {'; '.join(faults)}", mend="Install one again")


def _changed(what: str, generation: Generation, after: State) -> Changed:
    return Changed(
        what,
        generation.number,
        generation.model_id,
        generation.version,
        generation.digest,
        None if after.current is None else after.current.number,
        None if after.previous is None else after.previous.number,
    )


def _now() -> str:
    return stamp(datetime.now(timezone.utc))
