"""TLS, passwords and permissions against a real broker; what is wrong has its own line, and is tried again."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

BASE = "diffad/plant-1/press-3/left"
pytest.importorskip("cryptography", reason="cryptography is not installed")
_PASSWD = shutil.which("mosquitto_passwd")
WHO = {"username": "press-3", "password": "hunter2 with ö"}


class Authority:
    """Signs certificates, into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.ca = self._write(f"{name}.pem", self._signed(self._name, self._key.public_key(), [], ca=True))

    def issue(self, name: str, *hosts: str, days: float = 1) -> tuple[Path, Path]:
        """Certificate and key."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names: list[Any] = [
            x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts
        ]
        signed = self._signed(subject, key.public_key(), names, days=days)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self._folder / f"{name}.key"
        path.write_bytes(pem)
        path.chmod(0o600)
        return self._write(f"{name}.pem", signed), path

    def _signed(self, subject: Any, public: Any, names: list[Any], *, ca: bool = False, days: float = 1) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        now = datetime.now(timezone.utc)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return made.sign(self._key, hashes.SHA256())

    def _write(self, name: str, signed: Any) -> Path:
        from cryptography.hazmat.primitives import serialization

        path = self._folder / name
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path


@pytest.fixture
def plant(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "plant")


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{WHO['password']}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def secure(make_broker: Callable[..., Any], plant: Authority, tmp_path: Path) -> Any:
    """A broker with TLS and a password, for "localhost" only."""
    if _PASSWD is None:
        pytest.skip("mosquitto_passwd is not installed")
    users = tmp_path / "users"
    subprocess.run([_PASSWD, "-b", "-c", str(users), WHO["username"], WHO["password"]], check=True)
    certificate, key = plant.issue("broker", "localhost")
    one = make_broker(
        "allow_anonymous false",
        f"password_file {users}",
        listener=(f"cafile {plant.ca}", f"certfile {certificate}", f"keyfile {key}"),
    )
    one.start()
    return one


def _fails(adapter: Any, soon: Any, told: str) -> None:
    """It says so, and goes on trying."""
    soon(lambda: told in adapter.status().last_error, told=lambda: adapter.status().last_error)
    faults = adapter.status().faults
    soon(lambda: adapter.status().faults > faults)
    status = adapter.status()
    assert not status.connected
    assert told in status.last_error
    assert WHO["password"] not in status.last_error


def test_tls_and_password(secure: Any, plant: Authority, password: Path, listen: Any, start: Any) -> None:
    plc = listen(secure.port, ca=plant.ca, **WHO)
    adapter = start(
        secure.port, host="localhost", tls={"ca": plant.ca}, username=WHO["username"], password_file=password
    )
    plc.wait("state")
    plc.publish(f"{BASE}/trigger", {"job_id": "j1"})
    assert plc.wait("result")[0]["job_id"] == "j1"
    assert adapter.status().faults == 0


def test_a_password_of_the_environment(
    secure: Any, plant: Authority, monkeypatch: pytest.MonkeyPatch, start: Any, soon: Any
) -> None:
    monkeypatch.setenv("DIFFAD_TEST_MQTT", WHO["password"])
    more = {"username": WHO["username"], "password_env": "DIFFAD_TEST_MQTT"}
    adapter = start(secure.port, host="localhost", tls={"ca": plant.ca}, **more)
    soon(lambda: adapter.status().connected)


def test_a_broker_that_others_signed(secure: Any, tmp_path: Path, password: Path, start: Any, soon: Any) -> None:
    (tmp_path / "others").mkdir()
    others = Authority(tmp_path / "others", "others")
    more = {"username": WHO["username"], "password_file": password}
    adapter = start(secure.port, host="localhost", tls={"ca": others.ca}, **more)
    _fails(adapter, soon, "is not trusted: self-signed certificate in certificate chain; look at ca")
    system = start(secure.port, host="localhost", tls={}, **more)
    _fails(system, soon, "is not trusted")


def test_a_broker_of_another_name(secure: Any, plant: Authority, password: Path, start: Any, soon: Any) -> None:
    adapter = start(
        secure.port, host="127.0.0.1", tls={"ca": plant.ca}, username=WHO["username"], password_file=password
    )
    _fails(adapter, soon, "IP address mismatch, certificate is not valid for '127.0.0.1'")


def test_a_wrong_password_that_is_put_right(
    secure: Any, plant: Authority, password: Path, start: Any, soon: Any
) -> None:
    password.write_text("wrong\n")
    adapter = start(
        secure.port, host="localhost", tls={"ca": plant.ca}, username=WHO["username"], password_file=password
    )
    _fails(adapter, soon, "refuses us: Not authorized; look at username, password")
    password.unlink()
    _fails(adapter, soon, "cannot read the password file")
    password.write_text(f"{WHO['password']}\n")  # read again at each attempt
    soon(lambda: adapter.status().connected)


def test_in_clear_to_a_port_for_tls_and_the_other_way(
    secure: Any, broker: Any, plant: Authority, start: Any, soon: Any
) -> None:
    _fails(start(secure.port, host="localhost"), soon, "is TLS or a client certificate expected?")
    _fails(start(broker.port, host="localhost", tls={"ca": plant.ca}, connect_s=1), soon, f"localhost:{broker.port}")


def test_a_broker_that_asks_for_a_certificate(make_broker: Any, plant: Authority, start: Any, soon: Any) -> None:
    certificate, key = plant.issue("broker", "localhost")
    one = make_broker(
        "allow_anonymous true",
        listener=(f"cafile {plant.ca}", f"certfile {certificate}", f"keyfile {key}", "require_certificate true"),
    )
    one.start()
    without = start(one.port, host="localhost", tls={"ca": plant.ca})
    _fails(without, soon, "certificate")
    without.close()
    mine, my_key = plant.issue("press-3")
    adapter = start(one.port, host="localhost", tls={"ca": plant.ca, "certificate": mine, "key": my_key})
    soon(lambda: adapter.status().connected)


def test_an_expired_broker_and_one_that_was_renewed(make_broker: Any, plant: Authority, start: Any, soon: Any) -> None:
    certificate, key = plant.issue("broker", "localhost", days=-1)
    one = make_broker(
        "allow_anonymous true", listener=(f"cafile {plant.ca}", f"certfile {certificate}", f"keyfile {key}")
    )
    one.start()
    adapter = start(one.port, host="localhost", tls={"ca": plant.ca})
    _fails(adapter, soon, "certificate has expired")
    one.end()
    plant.issue("broker", "localhost")
    one.start()
    soon(lambda: adapter.status().connected)


def test_what_the_broker_forbids_is_told_and_kept(
    make_broker: Any, tmp_path: Path, listen: Any, desk: Any, start: Any, soon: Any
) -> None:
    """Results that may not be published wait for somebody who allows it, in order."""
    rules = tmp_path / "rules"
    rules.write_text(f"topic read {BASE}/#\ntopic write {BASE}/state\ntopic readwrite other/#\n")
    one = make_broker("allow_anonymous true", f"acl_file {rules}")
    one.start()
    consumer = listen(one.port)
    adapter = start(one.port)
    for number in range(1, 31):
        adapter.show(desk.own(number))
    soon(lambda: "refuses a message of ours: Not authorized" in adapter.status().last_error)
    status = adapter.status()
    assert (status.connected, status.waiting, status.sent, status.lost) == (True, 30, 0, 0)
    time.sleep(0.3)  # what was on its way is refused, too
    rules.write_text(f"topic readwrite {BASE}/#\n")
    os.kill(one.pid, 1)  # SIGHUP: read the rules again
    results = consumer.wait("result", 30)
    assert [result["job"] for result in results] == list(range(1, 31))
