"""Users and passwords in a file."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.line.opcua.users import read_users, write_user


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "users"
    write_user(path, "press-3", "correct horse")
    write_user(path, "hmi", "battery staple")
    users = read_users(path)
    assert len(users) == 2
    assert users.admit("press-3", "correct horse")
    assert users.admit("hmi", "battery staple")
    assert not users.admit("hmi", "correct horse")
    assert not users.admit("nobody", "battery staple")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "horse" not in path.read_text()


def test_another_password_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "users"
    write_user(path, "hmi", "first password")
    write_user(path, "hmi", "second password")
    users = read_users(path)
    assert len(users) == 1
    assert not users.admit("hmi", "first password")
    assert users.admit("hmi", "second password")


def test_guessing_is_refused_unseen_until_ten_seconds_are_over(tmp_path: Path) -> None:
    path = tmp_path / "users"
    write_user(path, "hmi", "the password")
    now = 100.0
    users = read_users(path, clock=lambda: now)
    assert not any(users.admit("hmi", f"guess {number}") for number in range(5))
    assert not users.admit("hmi", "the password")
    now = 110.5
    assert users.admit("hmi", "the password")


GOOD = "hmi:scrypt:1024:8:1:" + "00" * 16 + ":" + "11" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nobody\n",
        "hmi",
        "hmi:plain:secret",
        GOOD.replace("1024", "1000"),
        GOOD.replace("1024", "1073741824"),  # would stop the station for minutes
        GOOD.replace("hmi", "h m i"),
        GOOD.replace("11" * 32, "xy" * 32),
        GOOD.replace("11" * 32, ""),
        f"{GOOD}\n{GOOD}",
        "\x00\x01",
    ],
)
def test_a_file_that_is_none_is_told_with_its_mend(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users"
    path.write_text(text)
    with pytest.raises(InputError, match="users") as told:
        read_users(path)
    assert "python -m" in told.value.mend


def test_what_everybody_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text(GOOD)
    path.chmod(0o666)
    with pytest.raises(InputError, match="everybody"):
        read_users(path)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_users(tmp_path / "none")
    (tmp_path / "users").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot read"):
        read_users(tmp_path / "users")


@pytest.mark.parametrize(("name", "password"), [("a:b", "long enough"), ("", "long enough"), ("hmi", "short")])
def test_names_and_passwords_that_cannot_be(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(InputError):
        write_user(tmp_path / "users", name, password)
    assert not (tmp_path / "users").exists()


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "users"
    command = [sys.executable, "-m", "diffad_runtime.line.opcua.users", str(path), "hmi"]
    done = subprocess.run(
        command, input="a good password\n", text=True, capture_output=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert read_users(path).admit("hmi", "a good password")
    done = subprocess.run(command, input="short\n", text=True, capture_output=True, check=False, env=os.environ)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
