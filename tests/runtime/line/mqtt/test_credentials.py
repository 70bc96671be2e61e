"""Passwords and certificates: each fault has its own line with a mend, and no secret is ever shown."""

import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.mqtt.credentials import password_of, tls_of, warn_of_weakness
from diffad_runtime.line.mqtt.settings import MqttSettings, TlsSettings


def _settings(**changes: Any) -> MqttSettings:
    return MqttSettings(**{"host": "broker", "username": "u", **changes})


def test_the_password_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes("pässwort mit Leerzeichen \r\nmore\n".encode())
    assert password_of(_settings(password_file=path)) == "pässwort mit Leerzeichen "
    assert password_of(_settings()) is None


@pytest.mark.parametrize(("content", "told"), [(b"", "no password"), (b"\nx", "no password"), (b"\xff\xfe", "no pass")])
def test_a_file_without_a_password(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told):
        password_of(_settings(password_file=path))


def test_a_file_that_is_not_there_or_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the password file .*No such file.*Check the path"):
        password_of(_settings(password_file=tmp_path / "none"))
    with pytest.raises(InputError, match="no regular file"):
        password_of(_settings(password_file=tmp_path))


def test_the_password_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(password_env="DIFFAD_TEST_MQTT")
    with pytest.raises(InputError, match=r"DIFFAD_TEST_MQTT is not set.*Set it"):
        password_of(settings)
    monkeypatch.setenv("DIFFAD_TEST_MQTT", "secret")
    assert password_of(settings) == "secret"


def test_certificates_that_are_none(tmp_path: Path) -> None:
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    with pytest.raises(InputError, match=r"cannot read the CA file .*missing.pem: No such file"):
        tls_of(TlsSettings(ca=tmp_path / "missing.pem"))
    with pytest.raises(InputError, match=r"junk.pem holds no certificate"):
        tls_of(TlsSettings(ca=junk))
    with pytest.raises(InputError, match=r"are no certificate and its key"):
        tls_of(TlsSettings(certificate=junk, key=junk))
    with pytest.raises(InputError, match=r"cannot read the client key"):
        tls_of(TlsSettings(certificate=junk, key=tmp_path / "missing.key"))


def test_a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", "/CN=x", "-passout", "pass:phrase", "-keyout", str(key), "-out", str(certificate)),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl is not installed, or too old")
    with pytest.raises(InputError, match="without a pass phrase"):
        tls_of(TlsSettings(certificate=certificate, key=key))


def test_weak_settings_are_told_once_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "password"
    path.write_text("hunter2\n")
    path.chmod(0o604)
    with caplog.at_level(logging.WARNING):
        logging.getLogger("diffad_runtime").propagate = True
        warn_of_weakness(_settings(password_file=path))
    assert {getattr(record, "diffad_event", "") for record in caplog.records} == {
        "mqtt_clear_password",
        "mqtt_open_secret",
    }
    assert "hunter2" not in caplog.text
    caplog.clear()
    path.chmod(0o640)  # a service's group may read it
    warn_of_weakness(_settings(password_file=path, tls=TlsSettings()))
    assert not caplog.records
