"""`verify` on the command line: what it prints, what is the last line with --json, and what it leaves with."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from diffad_calibration.bundlelint import GraphFindings, lint_bundle
from diffad_calibration.lint import Finding
from diffad_edge.cli.arguments import names_of
from diffad_edge.cli.verifyview import raise_refusal, show_verification
from diffad_runtime.bundle import Bundle, describe_members, golden_members, open_bundle, write_bundle
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import EngineError, GateError, InputError
from diffad_runtime.parity import FrameOutcome
from diffad_runtime.scoring import image_score
from diffad_runtime.selfcheck import GoldenCheck, check_variants
from diffad_runtime.trust import Trusted

SIZE = 64
OFF = "graphs/reconstructor.off.onnx"
UNSIGNED = Trusted(signed=False, checked=False)


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "diffad_edge", "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def bundle_of(tiny_bundle: Path, path: Path, *, maps: bool = True) -> Path:
    """Golden answers are those of fp32; "off", made for TensorRT, gives a map 1.2 times as high."""
    tiny = open_bundle(tiny_bundle)
    exact = tiny.manifest.variants["fp32"]
    model = onnx.load_from_string(tiny.read(exact.reconstructor))
    for initializer in model.graph.initializer:
        if initializer.name == "ten":
            initializer.CopyFrom(numpy_helper.from_array(np.array(12, np.float32), "ten"))
    members = {name: tiny.read(name) for name in {exact.extractor, exact.reconstructor}}
    members[OFF] = model.SerializeToString()
    with open_engine(tiny, variant="fp32", threads=1) as engine:
        for number in range(2):
            image = np.full((SIZE, SIZE, 3), 128, np.uint8)
            image[: 32 * number, :, :] = 250
            anomaly = engine.infer(image).anomaly
            score = image_score(anomaly, tiny.manifest.image_score)
            made = golden_members(number, image, FrameOutcome(anomaly, score, score > 2), "any")
            members |= {name: body for name, body in made.items() if maps or not name.endswith(".f16")}
    off = exact.model_copy(update={"target": "tensorrt", "reconstructor": OFF})
    manifest = tiny.manifest.model_copy(
        update={"variants": {"fp32": exact, "off": off}, "members": describe_members(members)}
    )
    return write_bundle(path, manifest, members)


@pytest.fixture(scope="module")
def path(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(tiny_bundle, tmp_path_factory.mktemp("bundle") / "m.diffad")


@pytest.fixture(scope="module")
def bundle(path: Path) -> Bundle:
    return open_bundle(path)


@pytest.fixture(scope="module")
def checks(bundle: Bundle) -> list[GoldenCheck]:
    return check_variants(bundle, threads=1)


def finding() -> GraphFindings:
    biases = [Finding("bias", where, "int32", "Quantise") for where in "ab"]
    return GraphFindings(
        "off", "reconstructor", "tensorrt", (Finding("opset", "graph", "[21]", "Export again"), *biases)
    )


def test_a_sound_bundle(path: Path) -> None:
    done = cli(path)
    assert (done.returncode, done.stderr) == (0, "")
    words = " ".join(done.stdout.split())
    for said in ("every byte verified", "signature unsigned", "tiny, version 1, schema 1", "fp32 (default), off"):
        assert said in words
    assert "members 9, sizes and SHA-256 as the manifest says" in words
    assert "golden frames 2, with torch's maps" in words
    assert "verdict" not in words


def test_one_variant_refused_and_all_reported(path: Path) -> None:
    done = cli(path, "--parity", "--json")
    assert done.returncode == 3
    record = json.loads(done.stdout.splitlines()[-1])
    assert (record["ok"], record["signed"], record["members"], record["schema_version"]) == (False, False, 9, 1)
    assert record["golden"] == {"frames": 2, "maps": 2}
    assert {name: one["status"] for name, one in record["parity"].items()} == {"fp32": "passed", "off": "refused"}
    off = record["parity"]["off"]
    assert (off["foreign"], off["against"], off["backend"]) == (True, "maps", "onnxruntime")
    assert off["reason"].startswith("fp32 parity: map_max of frame")
    assert off["map_max"] > 0.1
    assert off["frames"].keys() == {"00", "01"}
    assert done.stderr.startswith("error: refused: off by its golden frames")
    assert done.stderr.count("\n") == 1
    passed = cli(path, "--parity", "--variant", "fp32", "--json")
    assert passed.returncode == 0
    assert json.loads(passed.stdout.splitlines()[-1])["parity"].keys() == {"fp32"}


def test_no_engine_leaves_with_1(path: Path) -> None:
    done = cli(path, "--parity", "--backend", "tensorrt", "--json")
    assert done.returncode == 1
    record = json.loads(done.stdout.splitlines()[-1])
    assert {one["status"] for one in record["parity"].values()} == {"failed"}
    assert "TensorRT" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--variant", "fp32"), "--variant says what --parity and --lint look at"),
        (("--parity", "--variant", "fp32,int9"), "no variant 'int9'"),
    ],
)
def test_wrong_use_leaves_with_2(path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = cli(path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_changed_byte_leaves_with_2(path: Path, tmp_path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "m.diffad").write_bytes(data)
    done = cli(tmp_path / "m.diffad", "--parity", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_the_table(
    bundle: Bundle, checks: list[GoldenCheck], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_verification(bundle, bundle.golden(), checks, None, UNSIGNED, json=False)
    lines = capsys.readouterr().out.splitlines()
    text = " ".join(" ".join(lines).split())  # a narrow table breaks its title
    assert "2 golden frames on onnxruntime against torch's maps, in spreads of the map" in text
    rows = {line.split()[0]: line.split() for line in lines if line.strip().startswith(("fp32 ", "off *"))}
    assert rows["fp32"] == ["fp32", "0", "0", "0", "0", "of", "2", "0%", "passed"]
    assert rows["off"][:2] == ["off", "*"]
    assert rows["off"][-1] == "refused"
    assert float(rows["off"][2]) > 0.1
    assert "*  made for TensorRT: here the same graph, not the same kernels" in lines
    assert sum(line.startswith("off refused: fp32 parity: map_max") for line in lines) == 1


def test_records_without_maps(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = open_bundle(bundle_of(tiny_bundle, tmp_path / "m.diffad", maps=False))
    found = check_variants(old, threads=1)
    assert [one.status for one in found] == ["passed", "refused"]
    show_verification(old, old.golden(), found, None, UNSIGNED, json=False)
    out = capsys.readouterr().out
    assert "2, scores only, no maps" in out
    assert "against torch's records" in out


def test_no_golden_frames(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = open_bundle(tiny_bundle)
    found = check_variants(bare, variants=["fp32"], threads=1)
    show_verification(bare, [], found, None, UNSIGNED, json=False)
    out = capsys.readouterr().out
    assert "none: nothing to check an engine with" in out
    assert "fp32 refused: the bundle holds no golden frames" in out
    with pytest.raises(GateError, match="fp32 by its golden frames"):
        raise_refusal(found, [])


def test_lint_findings_are_shown_and_refused(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    linted = [GraphFindings("off", "extractor", "tensorrt", ()), finding()]
    show_verification(bundle, bundle.golden(), None, linted, UNSIGNED, json=False)
    out = capsys.readouterr().out
    assert "off reconstructor: opset at graph: [21]\n-> Export again\n" in out
    assert "off reconstructor: bias at a: int32; 1 more of this rule\n-> Quantise\n" in out
    assert [line.split()[-1] for line in out.splitlines() if line.strip().startswith("off ")][:2] == ["none", "3"]
    show_verification(bundle, bundle.golden(), None, linted, UNSIGNED, json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is False
    assert record["lint"]["off"]["extractor"] == []
    assert record["lint"]["off"]["reconstructor"][0]["rule"] == "opset"
    with pytest.raises(GateError, match="refused: off by the lint"):
        raise_refusal([], linted)


def test_what_is_refused_goes_before_what_failed(bundle: Bundle, checks: list[GoldenCheck]) -> None:
    failed = check_variants(bundle, "tensorrt")
    raise_refusal(checks[:1], [finding()][:0])
    with pytest.raises(EngineError, match="no engine could check fp32, off: TensorRT is not installed"):
        raise_refusal(failed, [])
    with pytest.raises(GateError, match="off by its golden frames, off by the lint"):
        raise_refusal([*failed, *checks], [finding()])


def test_a_scaled_weight_is_found_in_the_bundle(bundle: Bundle) -> None:
    found = lint_bundle(bundle)
    assert [(one.variant, one.graph, one.target) for one in found] == [
        ("fp32", "extractor", "any"),
        ("fp32", "reconstructor", "any"),
        ("off", "extractor", "tensorrt"),
        ("off", "reconstructor", "tensorrt"),
    ]
    assert [(one.rule, one.where) for one in found[-1].findings] == [("weights", "ten")]
    assert [one.variant for one in lint_bundle(bundle, ["off"])] == ["off", "off"]
    with pytest.raises(InputError, match="no variant 'int9'"):
        lint_bundle(bundle, ["int9"])
    with pytest.raises(InputError, match="Name each once"):
        lint_bundle(bundle, ["off", "off"])


def test_names_by_commas_and_by_repeating() -> None:
    assert names_of(None) is None
    assert names_of([]) is None
    assert names_of(["fp32, int8", "int8-trt,"]) == ["fp32", "int8", "int8-trt"]
