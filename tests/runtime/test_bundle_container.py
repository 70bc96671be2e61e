"""The outer form of a bundle: no byte of the file can be changed, cut off or put in, and foreign zips are refused."""

import io
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.bundle import describe_members, golden_members, open_bundle, write_bundle
from diffad_runtime.bundle.container import unpack
from diffad_runtime.errors import BundleError
from diffad_runtime.parity import FrameOutcome

ANYWHERE = st.integers(0, 1 << 30)
"""A place in a file, once divided by its length."""


@pytest.fixture(scope="module")
def path(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a member of every kind."""
    bundle = open_bundle(tiny_bundle)
    image = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    outcome = FrameOutcome(np.random.default_rng(1).normal(0, 1, (64, 64)).astype(np.float32), 1.5, False)
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    members |= {"parity.json": b'{"map": 0.5}', **golden_members(0, image, outcome, "good")}
    manifest = bundle.manifest.model_copy(update={"members": describe_members(members)})
    return write_bundle(tmp_path_factory.mktemp("bundle") / "m.diffad", manifest, members, signature=b"s" * 64)


@pytest.fixture(scope="module")
def good(path: Path) -> bytes:
    """Its bytes."""
    return path.read_bytes()


def _refused(folder: Path, data: bytes) -> str:
    path = folder / "changed.diffad"
    path.write_bytes(data)
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert caught.value.mend
    return message


def test_other_zip_readers_accept_the_file(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "manifest.json"
        assert all(stat.S_ISREG(info.external_attr >> 16) for info in archive.infolist())
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())


@settings(max_examples=400, deadline=None)
@given(at=ANYWHERE, flip=st.integers(1, 255))
def test_no_byte_can_be_changed(tmp_path_factory: pytest.TempPathFactory, good: bytes, at: int, flip: int) -> None:
    changed = bytearray(good)
    changed[at % len(good)] ^= flip
    _refused(tmp_path_factory.mktemp("flip"), bytes(changed))


def test_no_bit_of_the_records_can_be_changed(good: bytes) -> None:
    """Exhaustive where hypothesis only samples: every bit outside the bodies."""
    bodies = unpack(good)
    inside = set()
    for body in bodies.values():
        start = good.index(bytes(body))
        inside.update(range(start, start + len(body)))
    for at in set(range(len(good))) - inside:
        for bit in range(8):
            changed = bytearray(good)
            changed[at] ^= 1 << bit
            with pytest.raises(BundleError):
                unpack(bytes(changed))


@settings(max_examples=150, deadline=None)
@given(length=ANYWHERE)
def test_no_end_can_be_cut_off(tmp_path_factory: pytest.TempPathFactory, good: bytes, length: int) -> None:
    _refused(tmp_path_factory.mktemp("cut"), good[: length % len(good)])


@settings(max_examples=150, deadline=None)
@given(at=ANYWHERE, foreign=st.binary(min_size=1, max_size=40))
def test_nothing_can_be_put_in(tmp_path_factory: pytest.TempPathFactory, good: bytes, at: int, foreign: bytes) -> None:
    at %= len(good) + 1
    _refused(tmp_path_factory.mktemp("put"), good[:at] + foreign + good[at:])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_garbage_gets_past(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    where = tmp_path_factory.mktemp("junk")
    _refused(where, junk)
    _refused(where, b"PK\x03\x04" + junk + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(junk), 4, 0))


def _zip(entries: list[tuple[zipfile.ZipInfo | str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, body in entries:
            archive.writestr(name, body)
    return buffer.getvalue()


def test_foreign_zips_are_refused_by_name_of_the_fault(tmp_path: Path) -> None:
    manifest = ("manifest.json", b"{}")
    assert "compressed" in _refused(tmp_path, _zip([("manifest.json", b" " * 999)], zipfile.ZIP_DEFLATED))
    assert "forbidden name '../x'" in _refused(tmp_path, _zip([manifest, ("../x", b"1")]))
    assert "forbidden name '/etc/x'" in _refused(tmp_path, _zip([manifest, ("/etc/x", b"1")]))
    assert "forbidden name" in _refused(tmp_path, _zip([manifest, ("a/b/c", b"1")]))
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "link" in _refused(tmp_path, _zip([manifest, (link, b"/etc/passwd")]))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = _zip([manifest, manifest])
    assert "twice" in _refused(tmp_path, twice)
    assert "damaged" in _refused(tmp_path, _zip([manifest]))


def test_a_declared_size_is_not_believed(good: bytes, tmp_path: Path) -> None:
    """A directory entry that claims two gigabytes is refused before anything of that size is asked for."""
    at = good.index(b"PK\x01\x02")
    bomb = good[: at + 20] + struct.pack("<2I", 2**31, 2**31) + good[at + 28 :]
    assert "does not lie where" in _refused(tmp_path, bomb)
