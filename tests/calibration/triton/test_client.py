"""The client that lies in the repository: verdicts and masks as of `score`, and every way not to reach a server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffad_calibration.triton import client, write_repository
from diffad_runtime.bundle import open_bundle
from diffad_runtime.errors import BundleError, EngineError, InputError
from diffad_runtime.imagefile import write_png
from diffad_runtime.inspector import Inspector
from diffad_runtime.pipeline import run_stream
from diffad_runtime.result import Result
from diffad_runtime.sinks import CallbackSink, MaskSink
from diffad_runtime.sources import open_source

pytest.importorskip("tritonclient", reason="tritonclient is not installed")
pytest.importorskip("geventhttpclient", reason="tritonclient is installed without its HTTP part")

from tritonsim import TritonSim


@pytest.fixture(scope="module")
def repository(golden_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(open_bundle(golden_bundle), tmp_path_factory.mktemp("triton") / "out").folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of several sizes, half of them with a white or black patch, and one that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        rng = np.random.default_rng(number)
        image = rng.integers(118, 139, (80 + 30 * number, 100, 3), dtype=np.uint8)
        if number % 2:
            image[20:50, 30:60] = 255 * (number == 3)
        write_png(folder / "sub" / f"{number}.png", image)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def run(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # gevent, below tritonclient, warns of itself on some Pythons: not ours to mend
        [sys.executable, str(repository / "client" / "score.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_script_prints_what_score_finds(
    repository: Path, images: Path, golden_bundle: Path, tmp_path: Path
) -> None:
    expected: list[Result] = []
    with Inspector.open(golden_bundle, "onnxruntime", threads=1) as inspector, open_source(str(images)) as source:
        sinks = [MaskSink(tmp_path / "single"), CallbackSink(lambda _, result: expected.append(result))]
        run_stream(inspector, source, sinks, judges=1)
    assert {result.verdict.value for result in expected} == {"OK", "NG"}
    with TritonSim(repository / "models").serving() as url:
        done = run(repository, images, "--url", url, "--masks", tmp_path / "masks")
    assert done.returncode == 1, done.stderr  # of the picture that is none
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines[1:]] == [[r.verdict.value, repr(r.score), r.name] for r in expected]
    assert lines[0][:3] == ["ERROR", "nan", "broken.png"]
    for result in expected:
        name = Path(result.name).with_suffix(".png")
        assert (tmp_path / "masks" / name).read_bytes() == (tmp_path / "single" / name).read_bytes()


def test_a_server_with_another_bundle_is_refused(repository: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    other = write_repository(open_bundle(tiny_bundle), tmp_path / "other").folder
    with TritonSim(other / "models").serving() as url, pytest.raises(BundleError, match="was made of the bundle"):
        client.open_inspector(url, repository)


def test_a_server_without_the_model_is_refused(repository: Path, golden_bundle: Path, tmp_path: Path) -> None:
    other = write_repository(open_bundle(golden_bundle), tmp_path / "other", name="another").folder
    with TritonSim(other / "models").serving() as url, pytest.raises(EngineError, match="unknown model"):
        client.open_inspector(url, repository)


def test_no_server_is_one_line_and_exit_code_2(repository: Path, images: Path) -> None:
    done = run(repository, images, "--url", "127.0.0.1:9")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: model 'tiny' at 127.0.0.1:9: ")
    assert done.stderr.count("\n") == 1


def test_a_client_away_from_its_repository_says_so(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model repository"):
        client.Served.read(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(repository, copy)
    (copy / "manifest.json").write_bytes((copy / "manifest.json").read_bytes() + b" ")
    with pytest.raises(InputError, match="has the digest"):
        client.Served.read(copy)
