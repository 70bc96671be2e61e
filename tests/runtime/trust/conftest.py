"""Keys on the disk, and the tiny bundle as any version, signed or not."""

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from diffad_runtime.bundle import open_bundle, write_bundle
from diffad_runtime.trust import KeyPair, make_key

NOON = datetime(2026, 11, 27, 12, 0, 0, tzinfo=timezone.utc)


@pytest.fixture(autouse=True, scope="session")
def _package() -> None:
    pytest.importorskip("cryptography", reason="the extra [trust] is not installed")


@pytest.fixture(scope="session")
def noon() -> datetime:
    """When these tests take place."""
    return NOON


@pytest.fixture(scope="session")
def pair(_package: None, tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """A key that is trusted."""
    return make_key(tmp_path_factory.mktemp("pair") / "line.key")


@pytest.fixture(scope="session")
def stranger(_package: None, tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """A key that is not."""
    return make_key(tmp_path_factory.mktemp("stranger") / "stranger.key")


@pytest.fixture
def trusted(tmp_path: Path, pair: KeyPair) -> Path:
    """A folder with the one trusted key in it."""
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o755)
    (folder / "line.pub").write_bytes(pair.public.read_bytes())
    (folder / "line.pub").chmod(0o644)
    return folder


@pytest.fixture
def bundle_of(tiny_bundle: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Writes the tiny bundle as the version that is asked for."""

    def write(version: int) -> Path:
        bundle = open_bundle(tiny_bundle)
        manifest = bundle.manifest.model_copy(update={"version": version})
        return write_bundle(
            tmp_path / f"v{version}.diffad", manifest, {name: bundle.read(name) for name in manifest.members}
        )

    return write
