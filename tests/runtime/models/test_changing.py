"""Commit and rollback give nothing up before what stays is known to be whole."""

import random
import threading
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.models import status
from diffad_runtime.models.state import Measured


def test_rollback_of_a_trial_and_of_a_generation(device: Any) -> None:
    device.has(1, 2)
    device.install(3)
    dropped = device.rollback(reason="too many parts are NG")
    assert (dropped.what, dropped.version, dropped.current, dropped.previous) == ("dropped", 3, 2, 1)
    assert device.versions == {"current": 2, "previous": 1}
    back = device.rollback()
    assert (back.what, back.version, back.current, back.previous) == ("rolled back", 2, 1, None)
    assert device.versions == {"current": 1}
    with pytest.raises(InputError, match="no generation to go back to"):
        device.rollback()
    events = [(what, text) for _, what, text in status(device.folder).events]
    assert events[-2] == ("rolled back", "generation 3 (tiny, version 3) was dropped: too many parts are NG")
    assert events[-1] == (
        "rolled back",
        "from generation 2 (tiny, version 2) to generation 1 (tiny, version 1): by hand",
    )
    assert status(device.folder).floors == {"tiny": 1}


def test_only_the_generation_that_is_meant(device: Any) -> None:
    device.has(1)
    for ask in (device.commit, device.rollback):
        with pytest.raises(InputError, match="nothing is on trial, not generation 7"):
            ask(generation=7)
    device.install(2)
    for ask in (device.commit, device.rollback):
        with pytest.raises(InputError, match=r"generation 2 \(tiny, version 2\) is on trial, not generation 1"):
            ask(generation=1)
    assert device.versions == {"trial": 2, "current": 1}
    assert device.commit(generation=2, measured=Measured(parts=300, ng=3, p99_ms=12.5)).current == 2
    device.install(3)
    reference = device.active().reference
    assert (reference.parts, reference.ng, reference.p99_ms) == (300, 3, 12.5)
    assert status(device.folder).generations[1].measured == {"parts": 300, "ng": 3, "p99_ms": 12.5}


def test_many_at_once(device: Any) -> None:
    """Starts, commits and rollbacks from four threads while two install: each is done or refused, and all is whole."""
    device.has(1)
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for number in range(30):
            version = 10 + 100 * number + seed
            ask = device.active if seed > 1 and number % 3 == 0 else rng.choice((device.commit, device.rollback))
            try:
                device.install(version) if seed < 2 else ask()
            except InputError as error:
                told = str(error)
                known = ("on trial", "in use", "is not newer", "nothing is on", "no generation to go back to")
                if not any(word in told for word in known):
                    failed.append(error)
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert failed == []
    device.active()
    assert "current" in device.versions


def _spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_damaged_trial_is_not_committed(device: Any) -> None:
    device.has(1)
    device.install(2)
    _spoil(device.path("trial"))
    with pytest.raises(BundleError, match="truncated"):
        device.commit()
    assert device.active().version == 1


def test_no_way_back_to_a_damaged_generation(device: Any) -> None:
    device.has(1, 2)
    _spoil(device.path("previous"))
    with pytest.raises(BundleError, match="no whole model to go back to"):
        device.rollback()
    assert device.active().version == 2


def test_a_trial_is_not_dropped_where_it_is_all_that_is_whole(device: Any) -> None:
    device.has(1, 2)
    device.install(3)
    _spoil(device.path("current"))
    _spoil(device.path("previous"))
    with pytest.raises(BundleError, match="no whole model to go back to"):
        device.rollback()
    assert device.active().version == 3
    device.commit()
    assert device.active().version == 3


def test_nothing_is_committed_while_versions_are_damaged(device: Any) -> None:
    device.has(1)
    device.install(2)
    (device.folder / "versions.json").write_text("")
    with pytest.raises(InputError, match=r"versions\.json is damaged"):
        device.commit()
    device.rollback()
    assert device.active().version == 1


def test_folder_that_there_is_not(device: Any) -> None:
    for ask in (device.commit, device.rollback):
        with pytest.raises(InputError, match="no model was ever installed"):
            ask()
    with pytest.raises(InputError, match="no model was ever installed"):
        status(device.folder)
    assert not device.folder.exists()
