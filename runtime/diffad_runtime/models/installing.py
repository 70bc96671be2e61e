"""A bundle becomes the trial generation: read once, verified, its signature looked at, staged, tested, named.

Knows the order of these steps and what stops each. Does not know files (folder.py), nor what happens to a trial.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.models.disk import Disk
from diffad_runtime.models.folder import Folder
from diffad_runtime.models.selftest import SelfTest, Test, self_test
from diffad_runtime.models.state import Generation, State, with_trial
from diffad_runtime.trust.policy import Policy
from diffad_runtime.trust.signature import stamp
from diffad_runtime.trust.store import Trusted
from diffad_runtime.trust.versions import too_old_to_install


@dataclass(frozen=True, slots=True)
class Installed:
    """A bundle that is on trial from now on: whoever runs the folder takes it up.

    Attributes:
        folder: of models.
        generation: its number there.
        model_id, version, digest: of the bundle.
        trusted: what its signature said.
        test: what the self-test said.
        current: number of the generation in force, which it will be held against; None: there is none yet.
    """

    folder: Path
    generation: int
    model_id: str
    version: int
    digest: str
    trusted: Trusted
    test: SelfTest
    current: int | None


def install(
    folder: str | Path,
    path: str | Path,
    *,
    policy: Policy | None = None,
    other_model: bool = False,
    test: Test = self_test,
    now: datetime | None = None,
    disk: Disk | None = None,
) -> Installed:
    """Install a bundle for trial. Whatever stops it, the models that were there stay as they were.

    Args:
        folder: of models; made where it is missing.
        path: of the bundle, NAME.diffad; read once.
        policy: what is asked of signatures; None: nothing.
        other_model: the bundle may be of another model id than the one in force.
        test: asked last, with what was staged; `functools.partial(self_test, backend=..., device=...)` for other
            settings than the defaults.
        now: with a time zone, for the signature; None: the clock's.
        disk: does what is done to files; None: the real one.

    Raises:
        BundleError: damaged, not trusted, or not newer than what this device had.
        InputError: another install or trial is not done, another model id, no room, or the folder cannot be used.
        GateError, EngineError, MissingExtraError: the self-test was not passed, or something is missing for it.
    """
    policy = policy or Policy()
    home = Folder(folder, disk)
    bundle = open_bundle(path)
    trusted = policy.check(bundle, now)
    home.prepare()
    with home.installing():
        with home.changing():
            home.sweep_as_installer()
            _check(home, bundle, home.read()[0], other_model=other_model)
        staged = home.stage(bundle)
        try:
            # What is tested is what lies on the disk, not what was read.
            copy = open_bundle(staged)
            if copy.digest != bundle.digest:
                raise BundleError(f"the copy of {path} is not what was read", mend="Check the disk")
            tested = test(copy)
            with home.changing():
                state, _ = home.read()
                _check(home, bundle, state, other_model=other_model)  # somebody may have changed it meanwhile
                generation = _generation(bundle, state, trusted)
                home.adopt(staged, generation)
                told = f"{tested.frames} golden frames on {tested.backend}, variant {tested.variant}"
                home.write(with_trial(state, generation, stamp(datetime.now(timezone.utc)), told))
                home.sweep_as_installer()  # what others gave up meanwhile and left to whoever installs
        except BaseException:
            home.drop(staged)
            with suppress(InputError), home.changing():
                home.sweep_as_installer()  # by what the disk says: the state may be in force in spite of an error
            raise
    return Installed(
        folder=home.path,
        generation=generation.number,
        model_id=generation.model_id,
        version=generation.version,
        digest=generation.digest,
        trusted=trusted,
        test=tested,
        current=None if state.current is None else state.current.number,
    )


def _check(home: Folder, bundle: Bundle, state: State, *, other_model: bool) -> None:
    manifest = bundle.manifest
    if state.trial is not None:
        raise InputError(f"{state.trial.text()} is still on trial", mend="Commit it or roll it back first")
    current = state.current
    if current is not None and current.digest == bundle.digest:
        raise InputError(f"this very bundle is in force: {current.text()}", mend="There is nothing to do")
    if current is not None and current.model_id != manifest.model_id and not other_model:
        raise InputError(
            f"the bundle is of model {manifest.model_id!r}, in force is {current.text()}",
            mend="Say --other-model if another model is meant",
        )
    if fault := too_old_to_install(home.versions(), manifest.model_id, manifest.version, bundle.digest):
        raise BundleError(
            f"bundle {bundle.path} is not installed: {fault}",
            mend="Export it again with a higher version; 'diffad-edge rollback' goes back to the previous generation",
        )


def _generation(bundle: Bundle, state: State, trusted: Trusted) -> Generation:
    return Generation(
        number=state.next_number,
        model_id=bundle.manifest.model_id,
        version=bundle.manifest.version,
        digest=bundle.digest,
        size_bytes=bundle.size_bytes,
        key_id=trusted.key_id if trusted.checked else "",
        installed=stamp(datetime.now(timezone.utc)),
    )
