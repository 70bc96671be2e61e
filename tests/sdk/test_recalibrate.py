"""`diffad-edge recalibrate` on the real command line, where torch and onnx are not installed."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffad_edge.cli.bundleview import thresholds_in_words
from diffad_runtime.bundle import Bundle, open_bundle, write_bundle
from diffad_runtime.manifest import LabelledFigures, NormalScores, Thresholds

# As on a device: what only the workstation has cannot be imported.
WITHOUT = """
import sys
for package in ("torch", "onnx", "safetensors", "jinja2", "matplotlib"):
    sys.modules[package] = None
from diffad_edge.cli import main
main()
"""


def cli(*arguments: str | Path | int | float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("good"), np.random.default_rng(0)
    for number in range(25):
        noise = rng.normal(0, rng.uniform(10, 25), (64, 64, 3))
        cv2.imwrite(str(folder / f"[{number}].png"), (128 + noise).clip(0, 255).astype(np.uint8))
    return folder


def test_words_and_json(tiny_bundle: Path, good: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.diffad"
    done = cli("recalibrate", tiny_bundle, "--good", good, "--out", out, "--false-reject-rate", 0.1, "--threads", 1)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stdout.split())
    limits = open_bundle(out).manifest.thresholds
    for wanted in (
        f"2 -> {limits.image:.4g}",
        f"2 -> {limits.pixel:.4g}",
        "tiny, version 2",
        "25; the old threshold rejects 0 of them",
        "].png",
        "10.00% asked for; 25 good images promise no more than 7.69%",
        "of 25 good images",
    ):
        assert wanted in words, wanted
    assert done.stderr.splitlines()[-1:] == [
        "warning: 25 good images can promise 3.94% of a good part's pixels above the pixel threshold, not the 0.10% "
        "asked for; that takes at least 1999"
    ]
    done = cli("recalibrate", out, "--good", f"dir://{good}", "--out", out, "--frames", 20, "--json", "--threads", 1)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert (record["version"], record["frames"]) == (3, 20)
    assert record["old"]["image"] == limits.image
    assert record["new"] == open_bundle(out).manifest.thresholds.model_dump(mode="json")
    assert record["digest"] == open_bundle(out).digest


def test_a_lost_signature_is_said(tiny_bundle: Path, good: Path, tmp_path: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    members = {name: bundle.read(name) for name in bundle.manifest.members}
    signed = write_bundle(tmp_path / "s.diffad", bundle.manifest, members, signature=b"x" * 64)
    done = cli("recalibrate", signed, "--good", good, "--out", tmp_path / "n.diffad", "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signature_dropped"] is True
    assert "the bundle was signed; " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--good", "{tmp}/none"), "none"),
        (("--good", "synthetic://line?fps=30"), "--frames"),
        (("--good", "{good}", "--false-reject-rate", "0"), "false reject rate"),
        (("--good", "{good}", "--frames", "5"), "5 different frames are too few"),
        (("--good", "{good}", "--labelled", "{good}"), "no labelled images"),
        (("--good", "synthetic://line?fps=0&size=64&count=12"), "score above the threshold in force"),
    ],
)
def test_what_is_refused_is_one_line_and_exit_code_2(
    tiny_bundle: Path, good: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    filled = [argument.format(tmp=tmp_path, good=good) for argument in arguments]
    done = cli("recalibrate", tiny_bundle, *filled, "--out", tmp_path / "n.diffad", "--threads", 1)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    *before, last = done.stderr.splitlines()
    assert all(line.startswith(("engine: ", "warning: ")) for line in before)
    assert last.startswith("error: ")
    assert words in last
    assert list(tmp_path.iterdir()) == []


def told(bundle: Bundle, limits: Thresholds, normal: NormalScores | None = None) -> dict[str, str]:
    changed = bundle.manifest.model_copy(update={"thresholds": limits, "normal_scores": normal})
    return dict(thresholds_in_words(changed))


def test_promises_in_words(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    limits = bundle.manifest.thresholds  # of a bundle from before there were more figures
    words = told(bundle, limits)
    assert words["false rejects"].endswith("no more than 5.00%, averaged over the luck of which ones were taken")
    assert "approximate" in words[""]
    assert words["pixel threshold"].endswith("0.100% of good pixels are")
    assert {"too few images", "normal scores"}.isdisjoint(words)

    update = {"confident_rate": 0.139, "pixel_guaranteed_rate": 0.048, "shared": False, "false_reject_rate": 0.001}
    normal = NormalScores(count=21, ranks=list(range(1, 22)), values=[float(i) for i in range(21)])
    words = told(bundle, limits.model_copy(update=update), normal)
    assert words["false rejects"].startswith("0.10% asked for; 20 good images promise no more than 5.00%")
    assert words["false rejects"].endswith("with 95 % confidence, luck included, no more than 13.90%")
    assert words["pixel threshold"].endswith("of a new good part no more than 4.80% on average is promised")
    assert words["too few images"].count("that takes at least") == 2
    assert "999. " in words["too few images"]
    assert words["normal scores"].startswith("1 to 19 (5 to 95 %), median 10, of 21 good images")
    assert "" not in words
    kept = told(bundle, limits.model_copy(update={"pixel_guaranteed_rate": 0.001}))["pixel threshold"]
    assert kept.endswith("no more than 0.100% of a new good part's pixels are, on average")

    figures = LabelledFigures(good=50, defective=12, false_rejects=1, found=11)
    update = {"kind": "labelled", "labelled": figures, "false_reject_rate": 0.02, "confident_rate": 0.193}
    words = told(bundle, limits.model_copy(update=update))
    assert words["false rejects"] == (
        "chosen on labelled images: 11 of 12 defective ones are found, 1 of 50 good ones rejected, a share of 2.00% "
        "was allowed; with 95 % confidence no more than 19.30% of later good parts"
    )
