"""A bundle is on trial whole, verified and tested, or nothing has changed."""

import errno
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.errors import BundleError, DataError, GateError, InputError
from diffad_runtime.models import SelfTest, install, self_test, status


def _refused(device: Any, version: int, **more: object) -> str:
    """Why it is; what was there is still there, and nothing else."""
    before = device.versions
    with pytest.raises((InputError, GateError)) as caught:
        device.install(version, **more)
    assert device.versions == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_first_model(device: Any) -> None:
    done = device.install(3)
    assert (done.generation, done.model_id, done.version, done.current) == (1, "tiny", 3, None)
    assert done.trusted.checked
    assert device.versions == {"trial": 3}
    assert device.path("trial").read_bytes() == device.workshop.bundle(3).read_bytes()
    found = device.active()
    assert (found.generation, found.version, found.trial, found.alone, found.reasons) == (1, 3, True, True, ())
    assert found.bundle.digest == done.digest
    changed = device.commit()
    assert (changed.what, changed.generation, changed.current, changed.previous) == ("committed", 1, 1, None)
    assert device.versions == {"current": 3}
    assert not device.active().trial


def test_two_generations_and_a_trial(device: Any) -> None:
    device.has(1, 2, 5)
    assert device.versions == {"current": 5, "previous": 2}
    assert device.install(6).current == 3
    assert device.versions == {"trial": 6, "current": 5, "previous": 2}
    assert device.commit().previous == 3
    assert device.versions == {"current": 6, "previous": 5}
    assert status(device.folder).floors == {"tiny": 5}
    assert status(device.folder).highest == {"tiny": 6}


def test_with_the_real_engine_and_golden_frames(golden_bundle: Path, tmp_path: Path) -> None:
    done = install(tmp_path / "models", golden_bundle)
    assert (done.test.backend, done.test.frames) == ("onnxruntime", 4)
    assert done.test.variant in open_bundle(golden_bundle).manifest.variants
    assert not done.trusted.signed


def test_one_that_does_not_judge_as_torch_did(golden_bundle: Path, tmp_path: Path) -> None:
    from diffad_runtime.bundle import describe_members, write_bundle

    bundle = open_bundle(golden_bundle)
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    members = {name: body for name, body in members.items() if not name.endswith(".f16")}
    members["golden/01.json"] = members["golden/00.json"]  # says that a defect is none
    manifest = bundle.manifest.model_copy(update={"members": describe_members(members)})
    path = write_bundle(tmp_path / "wrong.diffad", manifest, members)
    with pytest.raises(GateError, match="golden frames"):
        install(tmp_path / "models", path)
    assert list((tmp_path / "models" / "generations").iterdir()) == []
    assert status(tmp_path / "models").generations == ()


def test_versions_only_go_up(device: Any) -> None:
    device.has(2, 4)
    assert "is not newer than version 4" in _refused(device, 3)
    assert "this very bundle is in force" in _refused(device, 4)
    device.rollback()
    assert device.versions == {"current": 2}
    assert "is not newer than version 4" in _refused(device, 3)
    device.install(4)  # the very one that was rolled back
    device.commit()
    assert device.versions == {"current": 4, "previous": 2}


def test_another_one_of_the_same_version(device: Any, tmp_path: Path) -> None:
    from diffad_runtime.bundle import write_bundle

    device.has(1, 2)
    device.rollback()
    bundle = open_bundle(device.workshop.bundle(2))
    manifest = bundle.manifest.model_copy(update={"licences": ["another"]})
    other = write_bundle(tmp_path / "other.diffad", manifest, {name: bundle.read(name) for name in manifest.members})
    with pytest.raises(BundleError, match="is not newer than version 2"):
        install(device.folder, other, test=device.workshop.passes, disk=device.disk)


def test_another_model(device: Any) -> None:
    device.has(5)
    assert "of model 'other'" in _refused(device, 1, model_id="other")
    device.install(1, "other", other_model=True)
    device.commit()
    assert device.versions == {"current": 1, "previous": 5}
    assert status(device.folder).floors == {"tiny": 5, "other": 1}
    assert "is not newer than version 5" in _refused(device, 4, other_model=True)


def test_one_trial_at_a_time(device: Any) -> None:
    device.install(1)
    assert "still on trial" in _refused(device, 2)


def test_not_trusted(device: Any, workshop: Any) -> None:
    device.has(1)
    before = device.versions
    with pytest.raises(BundleError, match="unsigned"):
        install(device.folder, workshop.bundle(2, signed=False), policy=workshop.policy, disk=device.disk)
    damaged = device.folder.parent / "damaged.diffad"
    damaged.write_bytes(workshop.bundle(2).read_bytes()[:-7])
    with pytest.raises(BundleError, match="truncated"):
        install(device.folder, damaged, policy=workshop.policy, disk=device.disk)
    assert device.versions == before


def test_what_is_tested_is_what_lies_on_the_disk(device: Any) -> None:
    seen = []

    def test(bundle: Bundle) -> SelfTest:
        seen.append(bundle.path)
        return device.workshop.passes(bundle)  # type: ignore[no-any-return]

    device.install(1, test=test)
    assert seen[0].parent == device.folder / "generations"


def test_a_test_that_is_interrupted(device: Any) -> None:
    device.has(1)

    def test(_: Bundle) -> SelfTest:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.install(2, test=test)
    assert device.versions == {"current": 1}


def test_two_installers_and_whoever_comes_meanwhile(device: Any) -> None:
    device.has(1, 2)
    inside, go_on = threading.Event(), threading.Event()

    def slow(bundle: Bundle) -> SelfTest:
        inside.set()
        assert go_on.wait(10)
        return device.workshop.passes(bundle)  # type: ignore[no-any-return]

    thread = threading.Thread(target=device.install, args=(3,), kwargs={"test": slow}, daemon=True)
    thread.start()
    assert inside.wait(10)
    with pytest.raises(InputError, match=r"in use by another process \(install\.lock\)"):
        device.install(4)
    assert device.active().version == 2  # a start waits for no install, and sweeps nothing of it
    device.rollback()
    assert device.active().version == 1
    go_on.set()
    thread.join(10)
    assert device.versions == {"trial": 3, "current": 1}


def test_a_state_that_changed_under_an_install(device: Any) -> None:
    """Somebody rolls back to another model while the self-test runs: what was checked before is checked again."""
    device.has(5)
    device.install(1, "other", other_model=True)
    device.commit()

    def meddles(bundle: Bundle) -> SelfTest:
        device.rollback()
        return device.workshop.passes(bundle)  # type: ignore[no-any-return]

    with pytest.raises(InputError, match="of model 'other', in force is generation 1"):
        device.install(2, "other", test=meddles)
    assert device.versions == {"current": 5}


def test_no_room(device: Any, workshop: Any) -> None:
    device.has(1)

    class Full(workshop.Quick):  # type: ignore[misc, name-defined]
        def free_bytes(self, path: Path) -> int:
            assert path.is_dir()
            return 1000

    assert "no room" in _refused(device, 2, disk=Full())


def test_a_disk_that_is_full_after_all(device: Any, workshop: Any) -> None:
    """Quotas, and whoever writes at the same time: free space is only half of what may be missing."""
    device.has(1)

    class Filling(workshop.Quick):  # type: ignore[misc, name-defined]
        def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
            path.write_bytes(next(iter(chunks)))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert "No space left on device" in _refused(device, 2, disk=Filling())
    device.install(2)
    assert device.versions == {"trial": 2, "current": 1}


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full")
def test_the_kernel_says_that_the_disk_is_full(device: Any, workshop: Any) -> None:
    device.has(1)

    class Real(workshop.Quick):  # type: ignore[misc, name-defined]
        def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
            path.touch()
            with Path("/dev/full").open("wb", buffering=0) as file:
                file.write(b"".join(chunks))

    assert "No space left on device" in _refused(device, 2, disk=Real())


def test_folders_that_cannot_be_used(device: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the models folder"):
        install(tmp_path / "file" / "models", device.workshop.bundle(1))
    device.has(1)
    for path in (device.folder, device.folder / "generations", device.path("current"), device.folder / "state.json"):
        before = path.stat().st_mode
        path.chmod(0o777)
        with pytest.raises(InputError, match="not safe"):
            device.install(2)
        with pytest.raises(InputError, match="not safe"):
            device.active()
        path.chmod(before)
    assert device.active().version == 1


def test_made_for_its_owner_alone_whatever_the_umask(device: Any) -> None:
    before = os.umask(0)
    try:
        device.has(1)
    finally:
        os.umask(before)
    assert device.active().version == 1


def test_a_lost_state_is_not_begun_anew(device: Any) -> None:
    device.has(1)
    for name in ("state.json", "state.twin.json"):
        (device.folder / name).unlink()
    for ask in (device.active, device.commit, device.rollback, lambda: device.install(2)):
        with pytest.raises(DataError, match="is lost"):
            ask()
    assert [path.name for path in (device.folder / "generations").iterdir()] == ["000001.diffad"]


def test_damaged_versions_are_not_begun_anew(device: Any) -> None:
    device.has(1, 2)
    (device.folder / "versions.json").write_text("{")
    with pytest.raises(InputError, match=r"versions\.json is damaged"):
        device.install(3)
    found = device.active()
    assert found.version == 2
    assert "versions.json is damaged" in " ".join(found.reasons)
    assert (device.folder / "versions.json").read_text() == "{"
    (device.folder / "versions.json").unlink()
    device.active()
    assert status(device.folder).floors == {"tiny": 1}


def test_the_default_self_test_is_the_real_one() -> None:
    assert install.__kwdefaults__["test"] is self_test
