"""Which generation to run now, verified whole: asked at each start, and whenever another one is wanted.

Knows what to do with a damaged file, with a signature that does not hold any more, and with a trial that was started
again and again. Does not know engines.

Two kinds of fault are told apart. A file that is not what was installed never will be: the generation before takes its
place for good. A signature that is refused (expired, a key taken away, a clock that is wrong) or a disk that cannot be
read may be well again tomorrow: another generation runs meanwhile, and nothing is changed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.health.logs import event
from diffad_runtime.models.disk import Disk
from diffad_runtime.models.folder import Folder
from diffad_runtime.models.state import Generation, State, with_fallback, with_rollback, with_start
from diffad_runtime.models.trial import Reference, TrialSettings
from diffad_runtime.trust.policy import Policy
from diffad_runtime.trust.signature import stamp
from diffad_runtime.trust.store import Trusted
from diffad_runtime.trust.versions import Seen, too_old_to_run

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Active:
    """What to run.

    Attributes:
        folder: of models.
        path: of the bundle.
        bundle: its contents, verified; make the engine from these, not from the file once more.
        generation: its number.
        model_id, version, digest: of the bundle.
        trial: it is on trial: give its results to a Probation.
        trusted: what its signature said.
        reference: of a trial: what the generation in force did on its own trial, where that was measured.
        alone: nothing else could be run instead.
        reasons: what went wrong on the way here, one line each; all were logged.
        serial: of the state that this is the answer to; a Watch asks for it.
    """

    folder: Path
    path: Path
    bundle: Bundle = field(repr=False)
    generation: int
    model_id: str
    version: int
    digest: str
    trial: bool
    trusted: Trusted
    reference: Reference | None
    alone: bool
    reasons: tuple[str, ...] = ()
    serial: int = 0


def active(
    folder: str | Path,
    *,
    policy: Policy | None = None,
    settings: TrialSettings | None = None,
    now: datetime | None = None,
    disk: Disk | None = None,
) -> Active:
    """The generation to run: the trial, else the one in force, else the previous one; the first that is fit.

    A trial's start is counted, so call this once for each engine that is made of it. A full disk does not stop it.

    Args:
        folder: of models.
        policy: what is asked of signatures, looked at again at every start; None: nothing.
        settings: how often a trial may be started; None: the defaults.
        now: with a time zone, for the signature; None: the clock's.
        disk: does what is done to files; None: the real one.

    Raises:
        BundleError: no generation is fit to run; the message has the reason for each.
        InputError: no model was ever installed, the state is lost, others may write to the folder, or it is in use.
        MissingExtraError: a signature is to be checked, and cryptography is not installed.
    """
    home = Folder(folder, disk)
    home.check_owner()
    start = _Start(home, policy or Policy(), now)
    with home.changing():
        state, faults = home.read()
        start.reasons += faults
        versions = start.prepare(state)
        found = start.trial(state, versions, settings or TrialSettings()) or start.committed(versions)
        start.try_to(home.sweep)
        serial = home.read()[0].serial
    told = "; ".join(start.reasons)
    if found is None:
        told = told or "nothing was ever committed, and nothing is on trial"
        raise BundleError(f"no model in {home.path} is fit to run: {told}", mend="Install a bundle")
    if told:
        event(_LOG, logging.ERROR, "model_start", told, folder=str(home.path))
    found = replace(found, reasons=tuple(start.reasons), serial=serial)
    event(_LOG, logging.INFO, "model", f"{_described(found)} of {home.path}", generation=found.generation)
    return found


class _Start:
    """One start: what was found out so far."""

    def __init__(self, home: Folder, policy: Policy, now: datetime | None) -> None:
        self.home, self.policy, self.now = home, policy, now
        self.reasons: list[str] = []

    def prepare(self, state: State) -> dict[str, Seen]:
        """Mend what a kill between two files left; versions by model id."""
        self.try_to(lambda: self.home.mend_copies(state))
        self.try_to(lambda: self.home.raise_versions(state))
        try:
            return self.home.versions()
        except InputError:  # told above; the state itself says which generations may run
            return {}

    def trial(self, state: State, versions: dict[str, Seen], settings: TrialSettings) -> Active | None:
        """The trial, where there is one and it may be started once more."""
        one = state.trial
        if one is None:
            return None
        if state.current is not None and state.starts >= settings.most_starts:
            reason = f"started {state.starts} times without a sign of health"
            self._give_up(state, reason)
            return None
        bundle, trusted, fault, lasting = self._looked_at(one, versions)
        if bundle is None or trusted is None:
            if lasting and state.current is not None:
                self._give_up(state, fault)
            else:
                self.reasons.append(f"{one.text()} is not run: {fault}")
            return None
        # A start that cannot be counted could be repeated for ever.
        if not self._put(with_start(state)) and state.current is not None:
            self.reasons.append(f"{one.text()} is not run, as its starts cannot be counted")
            return None
        measured = None if state.current is None else state.current.measured
        reference = None if measured is None else Reference(measured.parts, measured.ng, measured.p99_ms)
        return self._active(one, bundle, trusted, state, reference)

    def committed(self, versions: dict[str, Seen]) -> Active | None:
        """The generation in force, or the one before."""
        state, _ = self.home.read()
        broken = ""
        for one in state.committed:
            bundle, trusted, fault, lasting = self._looked_at(one, versions)
            if bundle is None or trusted is None:
                self.reasons.append(f"{one.text()} is not run: {fault}")
                broken = fault if one is state.current and lasting else broken
                continue
            if one is not state.current:
                self.reasons.append(f"{one.text()} is run in its place")
            if broken:
                self._put(with_fallback(state, _now(), broken))
            return self._active(one, bundle, trusted, state, None)
        return None

    def try_to(self, do: Callable[[], None]) -> bool:
        """Do it, and say whether; where it cannot be done, that is a reason, and the start goes on."""
        try:
            do()
        except InputError as error:
            self.reasons.append(error.what)
            return False
        return True

    def _give_up(self, state: State, reason: str) -> None:
        assert state.trial is not None
        self.reasons.append(f"{state.trial.text()} was dropped: {reason}")
        self._put(with_rollback(state, _now(), reason))

    def _put(self, state: State) -> bool:
        return self.try_to(lambda: self.home.write(state))

    def _looked_at(self, one: Generation, versions: dict[str, Seen]) -> tuple[Bundle | None, Trusted | None, str, bool]:
        """(The bundle, what its signature says, "", False) or (None, None, why not, whether that will stay so)."""
        try:
            bundle = self._opened(one)
        except BundleError as error:
            gone = error.__cause__
            return None, None, error.what, not isinstance(gone, OSError) or isinstance(gone, FileNotFoundError)
        if fault := too_old_to_run(versions, one.model_id, one.version):
            return None, None, fault, False
        try:
            return bundle, self.policy.check(bundle, self.now), "", False
        except BundleError as error:
            return None, None, error.what, False

    def _opened(self, one: Generation) -> Bundle:
        try:
            return self.home.open(one)
        except BundleError:
            return self.home.open(one)  # before anything is given up for good, it is read once more

    def _active(
        self, one: Generation, bundle: Bundle, trusted: Trusted, state: State, reference: Reference | None
    ) -> Active:
        return Active(
            folder=self.home.path,
            path=self.home.file(one),
            bundle=bundle,
            generation=one.number,
            model_id=one.model_id,
            version=one.version,
            digest=one.digest,
            trial=one.committed is None,
            trusted=trusted,
            reference=reference,
            alone=len(state.kept) == 1,
        )


def _now() -> str:
    return stamp(datetime.now(timezone.utc))


def _described(found: Active) -> str:
    trial = " on trial" if found.trial else ""
    return f"generation {found.generation}{trial}: {found.model_id}, version {found.version}, {found.trusted.text()}"
