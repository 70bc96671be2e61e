"""A running process sees every change once, and is not asked again for what it could not have."""

from typing import Any

import pytest

from diffad_runtime.models import Watch
from diffad_runtime.models.folder import Folder
from diffad_runtime.trust import Policy


def test_sees_each_change_once(device: Any) -> None:
    device.has(1)
    watch = Watch(device.active())
    assert watch.wanted() is None
    device.install(2)
    assert watch.wanted() == 2
    assert watch.wanted() == 2  # until it is taken
    watch.taken(device.active())
    assert watch.wanted() is None
    device.commit()
    assert watch.wanted() is None  # it runs already
    device.rollback()
    assert watch.wanted() == 1
    watch.taken(device.active())
    assert watch.wanted() is None


def test_what_could_not_be_had_is_not_asked_for_again(device: Any, workshop: Any) -> None:
    device.has(1)
    watch = Watch(device.active())
    path = workshop.bundle(2, signed=False)
    from diffad_runtime.models import install

    install(device.folder, path, policy=Policy(), test=workshop.passes, disk=device.disk)
    assert watch.wanted() == 2
    found = device.active()  # asks for a signature
    assert found.version == 1
    watch.taken(found)
    assert watch.wanted() is None
    device.rollback()
    assert watch.wanted() is None
    device.install(3)
    assert watch.wanted() == 3


def test_a_change_between_answer_and_taking_is_not_missed(device: Any) -> None:
    device.has(1, 2)
    found = device.active()
    device.rollback()
    watch = Watch(found)
    assert watch.wanted() == 1


def test_costs_one_stat(device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device.has(1)
    watch = Watch(device.active())
    calls = []
    read = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self: calls.append("read") or read(self))
    for _ in range(100):
        assert watch.wanted() is None
    assert calls == ["read"]


def test_nobody_can_tell(device: Any) -> None:
    device.has(1)
    watch = Watch(device.active())
    data = (device.folder / "state.json").read_bytes()
    (device.folder / "state.json").unlink()
    assert watch.wanted() is None
    (device.folder / "state.json").write_bytes(b"")
    (device.folder / "state.twin.json").write_bytes(b"")
    assert watch.wanted() is None
    (device.folder / "state.json").write_bytes(data)
    device.install(2)
    assert watch.wanted() == 2
