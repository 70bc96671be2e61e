"""Bad input on the real command line: one line that names the thing and the mend, exit code 2, no traceback."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

GOOD = np.full((48, 64, 3), 128, np.uint8)


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffad_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


ABOUT_THE_ENGINE = ("engine: ", "warning: the bundle has no golden frames")
"""What comes before, where the bundle was opened first."""


def refuses(done: subprocess.CompletedProcess[str], thing: str) -> None:
    """One line, the thing named, more than the complaint alone, exit code 2."""
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith(ABOUT_THE_ENGINE)]
    assert len(lines) == 1, said
    assert lines[0].startswith("error: ")
    assert thing in lines[0]
    what, _, mend = lines[0].rstrip(".").rpartition(". ")
    assert what
    assert len(mend) > 5
    assert "Traceback" not in said


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), GOOD)
    return path


@pytest.fixture
def broken(tiny_bundle: Path, tmp_path: Path) -> Callable[[Callable[[bytes], bytes]], Path]:
    def make(change: Callable[[bytes], bytes]) -> Path:
        path = tmp_path / "broken.diffad"
        path.write_bytes(change(tiny_bundle.read_bytes()))
        return path

    return make


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data[:600] + bytes([data[600] ^ 1]) + data[601:], ""),
        (lambda _: b"", "empty"),
        (lambda _: b"hello, I am a text file", "not a bundle"),
    ],
    ids=["truncated", "one byte changed", "zero bytes", "text"],
)
def test_bundles_that_must_not_be_trusted(
    broken: Callable[[Callable[[bytes], bytes]], Path], change: Callable[[bytes], bytes], words: str
) -> None:
    path = broken(change)
    done = cli("run", path, "--camera", "synthetic://line?fps=0&count=1")
    refuses(done, str(path))
    assert words in done.stderr


@pytest.mark.parametrize("command", ["inspect", "bench"])
def test_missing_bundle(command: str, tmp_path: Path) -> None:
    refuses(cli(command, tmp_path / "none.diffad"), "none.diffad")


@pytest.mark.parametrize(
    "camera", ["teapot://1", "nowhere", "dir://{folder}/none", "file://{folder}/none.png", "csi://0"]
)
def test_cameras_that_do_not_exist(camera: str, tiny_bundle: Path, tmp_path: Path) -> None:
    camera = camera.format(folder=tmp_path)
    refuses(cli("run", tiny_bundle, "--camera", camera), camera.rpartition("://")[2])


def test_empty_folder(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refuses(cli("run", tiny_bundle, "--camera", f"dir://{tmp_path / 'empty'}"), str(tmp_path / "empty"))
    refuses(cli("score", tiny_bundle, tmp_path / "empty", "--out", tmp_path / "out"), str(tmp_path / "empty"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content"), [("text.png", b"not a picture"), ("zero.png", b"")], ids=["text named .png", "zero bytes"]
)
def test_image_that_is_none(name: str, content: bytes, tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "parts" / name
    path.parent.mkdir()
    path.write_bytes(content)
    refuses(cli("run", tiny_bundle, "--camera", f"file://{path}"), name)
    refuses(cli("score", tiny_bundle, path.parent, "--out", tmp_path / "out"), name)


def test_some_bad_files_are_named_and_counted_and_the_rest_is_inspected(tiny_bundle: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for name in ("a.png", "deep/c.png", "e.png"):
        image(parts / name)
    (parts / "b.png").write_bytes(b"not a picture")
    (parts / "d.png").write_bytes(b"")
    done = cli("run", tiny_bundle, "--camera", f"dir://{parts}", "--masks", tmp_path / "masks")
    assert done.returncode == 1, done.stderr
    unreadable = [line for line in done.stderr.splitlines() if line.startswith("unreadable: ")]
    assert len(unreadable) == 2
    assert "b.png" in unreadable[0]
    assert "d.png" in unreadable[1]
    assert "Traceback" not in done.stderr
    facts = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if line.strip()}
    assert (facts["frames"], facts["unreadable"]) == ("3", "2")
    masks = sorted(path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png"))
    assert masks == ["a.png", "deep/c.png", "e.png"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--variant", "int9", "int9"),
        ("--overlay", "{folder}/clip.gif", "gif"),
        ("--masks", "{folder}/file", "file"),
        ("--results", "{folder}/file/x.jsonl", "x.jsonl"),
    ],
)
def test_options_that_cannot_be_met(option: str, value: str, words: str, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    camera = "synthetic://line?fps=0&count=1"
    refuses(cli("run", tiny_bundle, "--camera", camera, option, value.format(folder=tmp_path)), words)


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("run", "m.diffad"),
        ("run", "m.diffad", "--camera", "0", "--max-frames", "0"),
        ("run", "m.diffad", "--camera", "0", "--backend", "abacus"),
        ("bench", "m.diffad", "--frame-size", "big"),
        ("--no-such-option",),
    ],
)
def test_wrong_use_leaves_with_2(arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
