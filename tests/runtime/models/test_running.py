"""A run that follows a folder: no part is lost over a change, a trial ends, what cannot be opened is dropped."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from diffad_runtime import DecisionRules, FakeEngine, Inspector
from diffad_runtime.bundle import Bundle
from diffad_runtime.errors import EngineError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.models import TrialSettings, status
from diffad_runtime.models.running import ModelRun
from diffad_runtime.recipes import RecipeBook
from diffad_runtime.result import Result

RULES = DecisionRules(0.5, 0.5, ImageScore(pixels=1))
GREY = np.full((16, 16, 3), 128, np.uint8)
SHORT = TrialSettings(commit_parts=10, commit_s=0, steady_parts=3)


def _make(bundle: Bundle) -> Inspector:
    return Inspector(FakeEngine(16), RULES, bundle_digest=bundle.digest, manifest=bundle.manifest)


def _until(what: Callable[[], bool], run: ModelRun, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        run.tick()
        time.sleep(0.02)


def _version(run: ModelRun) -> int:
    manifest = run.inspector.manifest
    assert manifest is not None
    return manifest.version


def test_a_trial_is_taken_up_and_committed_and_no_part_is_lost(device) -> None:  # type: ignore[no-untyped-def]
    device.install(1)
    device.commit()
    run = ModelRun(device.folder, _make, device.workshop.policy, SHORT)
    stop, results = threading.Event(), list[Result]()

    def judge() -> None:
        while not stop.is_set():
            result = run.inspector.inspect(GREY)
            run.count(result)
            results.append(result)
            time.sleep(0.002)

    judging = threading.Thread(target=judge)
    judging.start()
    device.install(2)
    _until(lambda: _version(run) == 2, run)
    _until(lambda: status(device.folder).generations[0].role == "current", run)
    stop.set()
    judging.join()
    found = status(device.folder).generations
    assert [(one.role, one.version) for one in found] == [("current", 2), ("previous", 1)]
    digests = [result.bundle_digest for result in results]
    first = digests.index(found[0].digest)
    assert set(digests[:first]) == {found[1].digest}
    assert set(digests[first:]) == {found[0].digest}
    assert [result.frame_id for result in results] == list(range(len(results)))
    assert run.faults() == ()
    run.inspector.close()


def test_rolled_back_by_hand_while_it_runs(device) -> None:  # type: ignore[no-untyped-def]
    for version in (1, 2):
        device.install(version)
        device.commit()
    run = ModelRun(device.folder, _make, device.workshop.policy, SHORT)
    assert _version(run) == 2
    device.rollback()
    _until(lambda: _version(run) == 1, run)
    run.inspector.close()


def test_a_trial_whose_engine_fails_on_the_line_is_rolled_back(device) -> None:  # type: ignore[no-untyped-def]
    def make(bundle: Bundle) -> Inspector:
        engine = FakeEngine(16, fails=lambda _: bundle.manifest.version == 2)
        return Inspector(engine, RULES, bundle_digest=bundle.digest, manifest=bundle.manifest)

    device.install(1)
    device.commit()
    device.install(2)
    run = ModelRun(device.folder, make, device.workshop.policy, SHORT)
    assert (_version(run), run.active.trial) == (2, True)
    source = FrameMaker()
    for _ in range(5):
        run.count(run.inspector.judge(source()))
    _until(lambda: _version(run) == 1, run)
    assert [one.version for one in status(device.folder).generations] == [1]
    assert run.inspector.inspect(GREY).bundle_digest == run.active.digest
    run.inspector.close()


class FrameMaker:
    """Grey frames, numbered."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self):  # type: ignore[no-untyped-def]
        from datetime import datetime, timezone

        from diffad_runtime.result import Frame

        self._number += 1
        return Frame(GREY, self._number, time.monotonic(), datetime.now(timezone.utc))


@pytest.mark.parametrize("running", [False, True])
def test_a_trial_that_cannot_be_opened_is_dropped(device, *, running: bool) -> None:  # type: ignore[no-untyped-def]
    def make(bundle: Bundle) -> Inspector:
        if bundle.manifest.version == 2:
            raise EngineError("this engine cannot be built", mend="Never mind")
        return _make(bundle)

    device.install(1)
    device.commit()
    if running:
        run = ModelRun(device.folder, make, device.workshop.policy, SHORT)
        device.install(2)
        _until(lambda: len(status(device.folder).generations) == 1, run)
    else:
        device.install(2)
        run = ModelRun(device.folder, make, device.workshop.policy, SHORT)
    assert _version(run) == 1
    assert "this engine cannot be built" in status(device.folder).events[-1][2]
    run.inspector.close()


def test_the_only_one_that_cannot_be_opened_is_an_error(device) -> None:  # type: ignore[no-untyped-def]
    def make(bundle: Bundle) -> Inspector:  # noqa: ARG001
        raise EngineError("this engine cannot be built", mend="Never mind")

    device.install(1)
    with pytest.raises(EngineError, match="cannot be built"):
        ModelRun(device.folder, make, device.workshop.policy, SHORT)


def test_one_in_force_that_cannot_be_opened_while_another_runs_is_a_fault(device) -> None:  # type: ignore[no-untyped-def]
    broken = threading.Event()

    def make(bundle: Bundle) -> Inspector:
        if broken.is_set():
            raise EngineError("no memory left", mend="Wait")
        return _make(bundle)

    for version in (1, 2):
        device.install(version)
        device.commit()
    run = ModelRun(device.folder, make, device.workshop.policy, SHORT)
    broken.set()
    device.rollback()
    _until(lambda: bool(run.faults()), run)
    assert "no memory left" in run.faults()[0]
    assert run.inspector.inspect(GREY) is not None, "what runs goes on"
    run.inspector.close()


def test_one_that_does_not_fit_the_recipes_is_dropped_and_its_engine_closed(device, tmp_path) -> None:  # type: ignore[no-untyped-def]
    engines = dict[int, FakeEngine]()

    def make(bundle: Bundle) -> Inspector:
        (tmp_path / "lid.toml").write_text(f'version = 1\nname = "lid"\n[bundle]\ndigest = "{first}"\n')
        engines[bundle.manifest.version] = FakeEngine(16)
        book = RecipeBook.open(tmp_path / "lid.toml")
        engine = engines[bundle.manifest.version]
        return Inspector(engine, RULES, bundle_digest=bundle.digest, manifest=bundle.manifest, recipes=book)

    first = device.install(1).digest
    device.commit()
    run = ModelRun(device.folder, make, device.workshop.policy, SHORT)
    device.install(2)
    _until(lambda: len(status(device.folder).generations) == 1, run)
    assert _version(run) == 1
    with pytest.raises(EngineError, match="closed"):
        engines[2].infer(GREY)
    assert run.inspector.inspect(GREY).bundle_digest == first
    run.inspector.close()
