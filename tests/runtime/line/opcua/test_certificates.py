"""Our own certificate, and those of clients."""

import os
import shutil
import stat
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from diffad_runtime.errors import InputError
from diffad_runtime.line.opcua.certificates import load_certificate, own_identity
from diffad_runtime.line.opcua.protocol import first_certificate
from diffad_runtime.line.opcua.trusted import Answer, Trusted

URI = "urn:test:client"


def der(path: Path) -> bytes:
    return load_certificate(path).public_bytes(serialization.Encoding.DER)


def test_made_once_and_read_again(tmp_path: Path) -> None:
    first = own_identity(tmp_path / "new", "urn:a:b", "left", "192.0.2.7", 100)
    again = own_identity(tmp_path / "new", "urn:a:b", "another name", "192.0.2.7", 1)
    assert first.made
    assert not again.made
    assert again.thumbprint == first.thumbprint
    assert stat.S_IMODE((tmp_path / "new" / "own.key.pem").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["own.der", "own.key.pem"]


def test_the_certificate_is_as_opc_10000_6_wants_it(server_folder: Path) -> None:
    certificate = load_certificate(server_folder / "own.der")
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:diffad-edge:site:line:station"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == "sha256"
    certificate.verify_directly_issued_by(certificate)


def test_validity_is_told(server_folder: Path) -> None:
    identity = own_identity(server_folder, "urn:diffad-edge:site:line:station", "", "", 1)
    now = datetime.now(timezone.utc)
    assert identity.fault(now) == ""
    assert "until" in identity.fault(now + timedelta(days=31))
    assert "from" in identity.fault(now - timedelta(days=1))


def spoil_key(folder: Path) -> None:
    (folder / "own.key.pem").write_text("no key")


def swap_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "own.key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def lose_key(folder: Path) -> None:
    (folder / "own.key.pem").unlink()


def lose_certificate(folder: Path) -> None:
    (folder / "own.der").unlink()


def spoil_certificate(folder: Path) -> None:
    (folder / "own.der").write_bytes(b"\x30\x03no")


@pytest.mark.parametrize("spoil", [spoil_key, swap_key, lose_key, lose_certificate, spoil_certificate])
def test_files_that_cannot_be_used(tmp_path: Path, server_folder: Path, spoil: object) -> None:
    folder = tmp_path / "own"
    shutil.copytree(server_folder, folder)
    spoil(folder)  # type: ignore[operator]
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(InputError, match=r"own\.") as told:
        own_identity(folder, "urn:diffad-edge:site:line:station", "", "", 1)
    assert told.value.mend
    assert sorted(path.name for path in folder.iterdir()) == before


def test_anothers_key_and_another_uri(tmp_path: Path, server_folder: Path, client_folder: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(server_folder, folder)
    with pytest.raises(InputError, match="urn:diffad-edge:site:line:station, expected urn:x:y"):
        own_identity(folder, "urn:x:y", "", "", 1)
    shutil.copy(client_folder / "own.key.pem", folder)
    with pytest.raises(InputError, match="not the key"):
        own_identity(folder, "urn:diffad-edge:site:line:station", "", "", 1)


def test_trusted_by_its_very_bytes(tmp_path: Path, client_folder: Path, stranger_folder: Path) -> None:
    trusted = Trusted(tmp_path)
    client, stranger = der(client_folder / "own.der"), der(stranger_folder / "own.der")
    assert trusted.ask(client) is Answer.UNKNOWN
    assert trusted.ask(b"\x30\x82junk") is Answer.SPOILT
    assert trusted.ask(None) is Answer.SPOILT
    rejected = list((tmp_path / "rejected").iterdir())
    assert len(rejected) == 1
    # What the integrator does, while the station runs.
    rejected[0].rename(tmp_path / "trusted" / rejected[0].name)
    assert trusted.ask(client) is Answer.TRUSTED
    assert trusted.ask(stranger) is Answer.UNKNOWN
    assert trusted.ask(client + b"\0") is Answer.SPOILT
    (tmp_path / "trusted" / rejected[0].name).unlink()
    assert trusted.ask(client) is Answer.UNKNOWN


def test_pem_counts_and_junk_in_the_folder_does_not(tmp_path: Path, client_folder: Path) -> None:
    trusted = Trusted(tmp_path)
    certificate = load_certificate(client_folder / "own.der")
    (tmp_path / "trusted" / "a.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "trusted" / "b.der").write_bytes(b"junk")
    (tmp_path / "trusted" / "c.der").write_bytes(bytes(100_000))
    (tmp_path / "trusted" / "notes.txt").write_text("junk")
    assert len(trusted) == 1
    assert trusted.ask(der(client_folder / "own.der")) is Answer.TRUSTED


def test_one_that_is_over_is_refused(tmp_path: Path) -> None:
    from diffad_runtime.line.opcua import certificates

    key, certificate = certificates._make(URI, "client", "", 0)
    (tmp_path / "trusted").mkdir()
    bytes_ = certificate.public_bytes(serialization.Encoding.DER)
    (tmp_path / "trusted" / "old.der").write_bytes(bytes_)
    assert key.key_size == 2048
    assert Trusted(tmp_path).ask(bytes_) is Answer.OUTDATED


def test_knocking_does_not_fill_the_disk(
    tmp_path: Path, stranger_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffad_runtime.line.opcua.trusted._MOST_REJECTED", 3)
    trusted = Trusted(tmp_path)
    for number in range(5):
        path = tmp_path / "rejected" / f"{number}.der"
        path.write_bytes(b"old")
        os.utime(path, (number, number))
    assert trusted.ask(der(stranger_folder / "own.der")) is Answer.UNKNOWN
    kept = sorted(path.name for path in (tmp_path / "rejected").iterdir())
    assert len(kept) == 3
    assert {"3.der", "4.der"} < set(kept)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make"):
        Trusted(tmp_path / "file")


def test_the_first_of_a_chain(client_folder: Path, stranger_folder: Path) -> None:
    one, two = der(client_folder / "own.der"), der(stranger_folder / "own.der")
    assert first_certificate(one) == one
    assert first_certificate(one + two) == one
    for junk in (b"", b"\x30", b"\x30\x82\xff", b"junk", bytes(range(256))):
        assert len(first_certificate(junk)) <= len(junk)
