"""A workshop that makes signed bundles of any version from the tiny one; a device; a disk that waits for nothing."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from diffad_runtime.bundle import Bundle, open_bundle, write_bundle
from diffad_runtime.models import Active, Changed, Installed, SelfTest, active, commit, install, rollback, status
from diffad_runtime.models.disk import Disk
from diffad_runtime.trust import Policy, TrustStore, make_key, sign_bundle


def passes(bundle: Bundle) -> SelfTest:
    """A self-test that asks for nothing."""
    return SelfTest("fake", bundle.manifest.default_variant, 0, (), 0.0)


class Quick(Disk):
    """Writes as the real one does, but waits for nothing: power cuts are played in test_crashes.py."""

    def write(self, path: Path, chunks: Iterable[bytes | memoryview]) -> None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
            for chunk in chunks:
                file.write(chunk)

    def sync_folder(self, path: Path) -> None:
        assert path.is_dir()


class Workshop:
    """Makes bundles, each once."""

    passes = staticmethod(passes)
    Quick = Quick

    def __init__(self, base: Path, folder: Path) -> None:
        self._base, self._folder = open_bundle(base), folder
        self.pair = make_key(folder / "line.key")
        keys = folder / "keys"
        keys.mkdir(mode=0o755)
        (keys / "line.pub").write_bytes(self.pair.public.read_bytes())
        (keys / "line.pub").chmod(0o644)
        self.policy = Policy(True, TrustStore(keys))

    def bundle(self, version: int, model_id: str = "tiny", *, signed: bool = True) -> Path:
        """Its path."""
        path = self._folder / f"{model_id}-{version}-{signed}.diffad"
        if not path.exists():
            manifest = self._base.manifest.model_copy(update={"version": version, "model_id": model_id})
            write_bundle(path, manifest, {name: self._base.read(name) for name in manifest.members})
            if signed:
                sign_bundle(path, self.pair.private)
        return path


class Device:
    """A models folder, what is done to it, and what must hold afterwards."""

    def __init__(self, folder: Path, workshop: Workshop, disk: Disk | None = None) -> None:
        self.folder, self.workshop, self.disk = folder, workshop, disk or Quick()

    def install(self, version: int, model_id: str = "tiny", **more: object) -> Installed:
        """A signed bundle of that version, without a real self-test."""
        path = self.workshop.bundle(version, model_id)
        asked = {"policy": self.workshop.policy, "test": passes, "disk": self.disk, **more}
        return install(self.folder, path, **asked)  # type: ignore[arg-type]

    def commit(self, **more: object) -> Changed:
        return commit(self.folder, disk=self.disk, **more)  # type: ignore[arg-type]

    def rollback(self, **more: object) -> Changed:
        return rollback(self.folder, disk=self.disk, **more)  # type: ignore[arg-type]

    def active(self, **more: object) -> Active:
        return active(self.folder, **{"policy": self.workshop.policy, "disk": self.disk, **more})  # type: ignore[arg-type]

    def has(self, *versions: int) -> "Device":
        """Install and commit them in turn."""
        for version in versions:
            self.install(version)
            self.commit()
        return self

    @property
    def versions(self) -> dict[str, int]:
        """{"current": version, ...}; each of them was verified, and no other file lies there."""
        found = status(self.folder)
        assert [one.fault for one in found.generations if one.fault] == []
        assert found.faults == ()
        files = sorted(path.name for path in (self.folder / "generations").iterdir())
        assert files == sorted(one.path.name for one in found.generations)
        own = {"generations", "state.json", "state.twin.json", "versions.json", "state.lock", "install.lock"}
        assert {path.name for path in self.folder.iterdir()} <= own
        return {one.role: one.version for one in found.generations}

    def path(self, role: str) -> Path:
        """Of the bundle in that role."""
        return next(one.path for one in status(self.folder, verify=False).generations if one.role == role)


@pytest.fixture
def device(tmp_path: Path, workshop: Workshop) -> Device:
    """One on which nothing was ever installed."""
    return Device(tmp_path / "models", workshop)


@pytest.fixture(scope="session")
def workshop(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One for all tests: bundles are never changed."""
    pytest.importorskip("cryptography", reason="the extra [trust] is not installed")
    return Workshop(tiny_bundle, tmp_path_factory.mktemp("workshop"))
