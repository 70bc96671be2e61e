"""A start runs a whole, verified model, says loudly where it is not the one that was wanted, and gives up nothing that
may be well again tomorrow."""

import logging
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.errors import BundleError, InputError
from diffad_runtime.models import TrialSettings, status
from diffad_runtime.models.changing import steady
from diffad_runtime.trust import Policy, TrustStore, sign_bundle


def _spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_nothing_there(device: Any) -> None:
    with pytest.raises(InputError, match="no model was ever installed"):
        device.active()
    device.install(1)
    device.rollback()
    with pytest.raises(BundleError, match="nothing was ever committed"):
        device.active()


@pytest.mark.parametrize("how", ["spoilt", "missing", "another", "empty"])
def test_a_damaged_current_falls_back_for_good(device: Any, how: str, caplog: pytest.LogCaptureFixture) -> None:
    device.has(1, 2)
    path = device.path("current")
    if how == "spoilt":
        _spoil(path)
    elif how == "missing":
        path.unlink()
    elif how == "another":  # whole and signed, but not what was installed
        path.write_bytes(device.workshop.bundle(7).read_bytes())
    else:
        path.write_bytes(b"")
    with caplog.at_level(logging.INFO):
        found = device.active()
    assert (found.version, found.trial) == (1, False)
    assert len(found.reasons) == 2
    assert "version 2) is not run" in found.reasons[0]
    assert "version 1) is run in its place" in found.reasons[1]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert device.versions == {"current": 1}
    assert device.active().reasons == ()
    assert status(device.folder).events[-1][1] == "fell back"


def test_both_are_damaged(device: Any) -> None:
    device.has(1, 2)
    _spoil(device.path("current"))
    _spoil(device.path("previous"))
    with pytest.raises(BundleError, match="fit to run") as caught:
        device.active()
    assert "version 1) is not run" in str(caught.value)
    assert "version 2) is not run" in str(caught.value)
    # Nothing was given up: whoever mends one of the files has it back.
    device.path("previous").write_bytes(device.workshop.bundle(1).read_bytes())
    assert device.active().version == 1


def test_a_damaged_trial_is_dropped(device: Any) -> None:
    device.has(1)
    device.install(2)
    _spoil(device.path("trial"))
    found = device.active()
    assert found.version == 1
    assert "was dropped" in found.reasons[0]
    assert device.versions == {"current": 1}


def test_a_damaged_trial_that_is_alone_stays(device: Any) -> None:
    device.install(1)
    _spoil(device.path("trial"))
    for _ in range(2):
        with pytest.raises(BundleError, match="fit to run"):
            device.active()
    device.path("trial").write_bytes(device.workshop.bundle(1).read_bytes())
    assert device.active().version == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read_today(device: Any) -> None:
    device.has(1, 2)
    path = device.path("current")
    path.chmod(0)
    assert device.active().version == 1
    path.chmod(0o644)
    assert device.active().version == 2


def test_a_disk_that_cannot_be_read_today(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device.has(1, 2)
    bad, opened = device.path("current"), Path.open

    def broken(self: Path, *arguments: Any, **more: Any) -> Any:
        if self == bad:
            raise OSError(5, os.strerror(5))
        return opened(self, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", broken)
        found = device.active()
    assert found.version == 1
    assert "Input/output error" in found.reasons[0]
    assert device.active().version == 2
    assert device.versions == {"current": 2, "previous": 1}


def test_read_once_more_before_anything_is_given_up(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device.has(1, 2)
    bad, read, times = device.path("current"), Path.open, []

    def once(self: Path, *arguments: Any, **more: Any) -> Any:
        if self == bad:
            times.append(self)
            if len(times) == 1:
                return read(device.path("previous"), *arguments, **more)
        return read(self, *arguments, **more)

    monkeypatch.setattr(Path, "open", once)
    assert device.active().version == 2
    assert len(times) == 2


def test_boot_loop(device: Any) -> None:
    device.has(1)
    device.install(2)
    settings = TrialSettings(most_starts=3)
    assert [device.active(settings=settings).version for _ in range(4)] == [2, 2, 2, 1]
    assert device.versions == {"current": 1}
    assert "started 3 times" in status(device.folder).events[-1][2]
    assert device.active(settings=settings).reasons == ()


def test_a_trial_that_shows_that_it_is_well_may_start_again(device: Any) -> None:
    device.has(1)
    device.install(2)
    for _ in range(4):
        for _ in range(3):
            assert device.active().version == 2
        steady(device.folder, 2, disk=device.disk)
    assert device.active().version == 2
    steady(device.folder, 1, disk=device.disk)  # of another generation: says nothing
    device.active()
    device.active()
    assert device.active().version == 1


def test_a_trial_that_is_alone_may_start_for_ever(device: Any) -> None:
    device.install(1)
    assert [device.active().version for _ in range(6)] == [1] * 6


def test_a_full_disk_stops_no_start(device: Any, workshop: Any) -> None:
    device.has(1)
    device.install(2)

    class Full(workshop.Quick):  # type: ignore[misc, name-defined]
        def write(self, *_: object) -> None:
            raise OSError(28, os.strerror(28))

    # A start that cannot be counted could be repeated for ever: the one in force is run.
    found = device.active(disk=Full())
    assert (found.version, found.trial) == (1, False)
    assert "starts cannot be counted" in " ".join(found.reasons)
    _spoil(device.path("trial"))
    assert device.active(disk=Full()).version == 1
    assert device.active().version == 1
    device.has(3)
    _spoil(device.path("current"))
    assert device.active(disk=Full()).version == 1
    assert device.active().version == 1


def test_a_key_taken_away_runs_the_other_generation(device: Any, workshop: Any, tmp_path: Path) -> None:
    from diffad_runtime.models import commit, install
    from diffad_runtime.trust import make_key

    other = make_key(tmp_path / "other.key")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o755)
    (keys / "line.pub").write_bytes(workshop.pair.public.read_bytes())
    (keys / "other.pub").write_bytes(other.public.read_bytes())
    for key in keys.iterdir():
        key.chmod(0o644)
    policy = Policy(True, TrustStore(keys))
    device.install(1, policy=policy)
    device.commit()
    signed = sign_bundle(workshop.bundle(2), other.private, out=tmp_path / "2.diffad").path
    install(device.folder, signed, policy=policy, test=workshop.passes, disk=device.disk)
    commit(device.folder, disk=device.disk)
    assert device.active(policy=policy).version == 2
    (keys / "other.pub").rename(tmp_path / "other.pub")
    found = device.active(policy=policy)
    assert found.version == 1
    assert "not trusted here" in found.reasons[0]
    assert device.versions == {"current": 2, "previous": 1}
    (tmp_path / "other.pub").rename(keys / "other.pub")
    assert device.active(policy=policy).version == 2
    for key in keys.iterdir():
        key.unlink()
    with pytest.raises(BundleError, match="no key at all"):
        device.active(policy=policy)


def test_expiry_is_looked_at_at_every_start(device: Any, workshop: Any, tmp_path: Path) -> None:
    from diffad_runtime.models import install

    now = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)
    device.has(1)
    path = sign_bundle(
        workshop.bundle(2), workshop.pair.private, out=tmp_path / "2.diffad", now=now, expires=now + timedelta(days=9)
    ).path
    install(device.folder, path, policy=workshop.policy, test=workshop.passes, now=now, disk=device.disk)
    assert device.active(now=now).version == 2
    late = device.active(now=now + timedelta(days=9))
    assert (late.version, late.trial) == (1, False)
    early = device.active(now=datetime(1970, 1, 1, tzinfo=timezone.utc))
    assert early.version == 1
    assert "clock cannot tell" in early.reasons[0]
    assert device.active(now=now).version == 2  # the trial was not given up


def test_older_than_this_device_goes_back_to(device: Any) -> None:
    """Somebody puts an old state and an old bundle back in place; versions.json is not with them."""
    device.has(1)
    saved = {path: path.read_bytes() for path in device.folder.rglob("*") if path.is_file()}
    device.has(2, 3)
    for path, data in saved.items():
        if path.name != "versions.json":
            path.write_bytes(data)
    with pytest.raises(BundleError, match="older than this device goes back to, version 2"):
        device.active()


@pytest.mark.parametrize("name", ["state.json", "state.twin.json"])
@pytest.mark.parametrize("how", ["missing", "empty", "junk"])
def test_one_copy_of_the_state_will_do(device: Any, name: str, how: str) -> None:
    device.has(1, 2)
    path = device.folder / name
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "empty" else b"\xff{")
    found = device.active()
    assert found.version == 2
    assert name in found.reasons[0]
    assert device.versions == {"current": 2, "previous": 1}  # mended: no faults


def test_an_older_copy_does_not_count(device: Any) -> None:
    device.has(1)
    old = (device.folder / "state.json").read_bytes()
    device.has(2)
    for name in ("state.json", "state.twin.json"):
        new = (device.folder / name).read_bytes()
        (device.folder / name).write_bytes(old)
        assert device.active().version == 2
        assert (device.folder / name).read_bytes() == new


def test_sweeps_what_a_kill_left_and_nothing_else(device: Any) -> None:
    device.has(1)
    generations = device.folder / "generations"
    (generations / ".incoming.0123456789ab.tmp").write_bytes(b"half a model")
    (generations / "000009.diffad").write_bytes(b"half a model")
    (device.folder / ".state.json.0123456789ab.tmp").write_bytes(b"{")
    (device.folder / "notes.txt").write_text("mine")
    (generations / "notes.txt").write_text("mine")
    device.active()
    assert sorted(path.name for path in generations.iterdir()) == ["000001.diffad", "notes.txt"]
    assert not list(device.folder.glob(".state*"))
    assert (device.folder / "notes.txt").read_text() == "mine"
