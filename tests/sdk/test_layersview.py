"""`inspect --layers`: kernels and a line a graph where the builder is installed, else the pip command."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from diffad_calibration import oracle
from diffad_calibration.oracle import Convolution, Layer, LayerReport, Tensor, Traffic, building
from diffad_edge.cli.app import app
from diffad_edge.cli.layersview import layers_record, show_layers
from diffad_runtime.bundle import open_bundle, write_bundle
from diffad_runtime.errors import MissingExtraError
from diffad_runtime.manifest import Variant

needs_builder = pytest.mark.skipif(not oracle.available(), reason="tensorrt_rtx is not installed")


def report(*, int8: bool = True) -> LayerReport:
    kind = "Int8" if int8 else "Float"
    steps, sums = Tensor("q", kind, (1, 8, 100, 100)), Tensor("y", "Float", (1, 8, 100, 100))
    return LayerReport(
        name="reconstructor.int8-trt",
        builder="TensorRT-RTX 9.9",
        layers=(
            Layer("k0", "kgen", (Tensor("x", "Float", (4,)),), (), (steps,), ("x_QuantizeLinear",)),
            Layer("e0", "signal", (), (), (), ()),
            Layer("c0", "correlation", (steps,), (), (sums,), ("[red]conv", "w_DequantizeLinear", "a", "b", "c")),
        ),
        convolutions=(Convolution("[red]conv", True, "c0", int8, "Float"), Convolution("plain", False, "", False, "")),
        between=(Traffic("Int8", 1, 80000),) if int8 else (Traffic("Float", 1, 320000),),
        kernels=2,
        plan_bytes=1_500_000,
        build_s=0.5,
    )


def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **options: bool) -> list[str]:
    monkeypatch.setenv("COLUMNS", "100")
    show_layers({"int8-fp16-trt": {"reconstructor": report(**options)}})
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_kernels_and_the_summary_fit_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch)
    assert "1 kgen Float Int8 80.0 KB x_QuantizeLinear" in lines
    assert "2 correlation Int8 Float 320.0 KB [red]conv, a, b and 1 more" in lines
    assert "int8-fp16-trt reconstructor 2 1 of 1 2 - 1, 80.0 KB 1.5 MB" in lines
    assert any("not what runs on a Jetson" in line for line in lines)
    assert not any("meant for INT8 but" in line for line in lines)


def test_convolutions_that_fell_back_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(capsys, monkeypatch, int8=False)
    assert "int8-fp16-trt reconstructor 2 0 of 1 2 1, 320.0 KB - 1.5 MB" in lines
    assert "int8-fp16-trt, reconstructor: meant for INT8 but in float: [red]conv" in lines


def test_the_record_is_plain_json_with_the_counted_figures() -> None:
    record = json.loads(json.dumps(layers_record({"int8-trt": {"extractor": report()}}), allow_nan=False))
    graph = record["layers"]["int8-trt"]["extractor"]
    assert (graph["marked"], graph["int8"], graph["share"], graph["missed"]) == (1, 1, 1.0, [])
    assert graph["layers"][2]["inputs"] == [{"name": "q", "type": "Int8", "shape": [1, 8, 100, 100]}]
    assert (graph["float_tensors"], graph["float_bytes"], graph["kernels"]) == (0, 0, 2)


def inspect(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle with its float graphs declared as made for TensorRT too."""
    tiny = open_bundle(tiny_bundle)
    first = tiny.manifest.variants["fp32"]
    made = Variant(precision="int8", target="tensorrt", extractor=first.extractor, reconstructor=first.reconstructor)
    manifest = tiny.manifest.model_copy(update={"variants": {**tiny.manifest.variants, "int8-trt": made}})
    return write_bundle(tmp_path / "trt.diffad", manifest, {name: tiny.read(name) for name in tiny.manifest.members})


@needs_builder
def test_the_variants_made_for_tensorrt_are_built(bundle: Path) -> None:
    done = inspect(bundle, "--layers", "--json")
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout.splitlines()[-1])
    assert {name: list(graphs) for name, graphs in record["layers"].items()} == {
        "int8-trt": ["extractor", "reconstructor"]
    }


@needs_builder
def test_a_float_variant_can_be_named(bundle: Path) -> None:
    done = inspect(bundle, "--layers", "--variant", "fp32,int8-trt", "--json")
    assert list(json.loads(done.stdout.splitlines()[-1])["layers"]) == ["fp32", "int8-trt"]


@needs_builder
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--layers", "--variant", "second"), "variant 'second' is made for cpu"),
        (("--layers", "--variant", "nine"), "no variant 'nine'"),
        (("--layers",), "no variant made for tensorrt"),
        (("--variant", "fp32"), "--variant says what --layers looks at"),
    ],
)
def test_variants_that_cannot_be_built_are_wrong_use(tiny_bundle: Path, arguments: tuple[str, ...], words: str) -> None:
    done = inspect(tiny_bundle, *arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_the_builder_one_line_has_the_pip_command(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtraError("tensorrt_rtx", extra=building.EXTRA, purpose="the layer report")

    monkeypatch.setattr(building, "_module", missing)
    done = inspect(tiny_bundle, "--layers")
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "error: the layer report needs the package 'tensorrt_rtx', which is not installed. "
        "Run: pip install 'diffad-edge[oracle]'."
    ]


def test_help_says_that_it_is_an_oracle() -> None:
    done = inspect("--help")
    assert "oracle" in done.stdout
    assert "Jetson" in done.stdout
