"""The builder's list of layers is read whole, and what cannot be read is an error. Needs no TensorRT.

layers.txt is what TensorRT-RTX 1.7.1 wrote about three INT8 convolutions with ReLU, and four layers of a larger graph.
"""

import re
from pathlib import Path

import pytest

from diffad_calibration.oracle.layertext import Tensor, parse_layers
from diffad_runtime.errors import DiffadError

TEXT = (Path(__file__).parent / "layers.txt").read_text(encoding="utf-8")


def test_every_layer_is_read_in_order() -> None:
    layers = parse_layers(TEXT)
    assert len(layers) == TEXT.count("LayerType: ") == 11
    assert [layer.kind for layer in layers] == [
        *("kgen", "correlation") * 3,
        *("kgen", "signal", "wait", "runtime_fusion", "gemm"),
    ]


def test_a_convolution_is_read_with_types_shapes_and_nodes() -> None:
    layer = parse_layers(TEXT)[1]
    assert layer.name == "conv0_myl0_1"
    assert layer.inputs == (Tensor("__mye355c0_before_bias.1_2_myl0", "Int8", (1, 8, 16, 16)),)
    assert [(entry.type, entry.shape) for entry in layer.constants] == [
        ("Int8", (16, 8, 3, 3)),
        ("Float", (1, 16, 1, 1)),
        ("Float", (1, 16, 1, 1)),
    ]
    assert layer.outputs == (Tensor("__myln_k_arg__bb1_3_myl0", "Float", (1, 16, 16, 16)),)
    assert layer.nodes == ("conv0", "x_DequantizeLinear", "w0_DequantizeLinear")


def test_an_event_between_streams_has_no_tensors() -> None:
    layer = parse_layers(TEXT)[7]
    assert (layer.inputs, layer.constants, layer.outputs, layer.nodes) == ((), (), (), ())


def test_several_outputs_are_read() -> None:
    assert [entry.shape for entry in parse_layers(TEXT)[9].outputs] == [(1, 1, 40), (1, 1, 4096)]


def test_bytes_are_elements_times_width() -> None:
    assert Tensor("a", "Half", (1, 3, 4)).bytes == 24
    assert Tensor("a", "Int8", ()).bytes == 1
    assert Tensor("a", "NewType", (5,)).bytes == 0


def test_only_the_last_list_counts_and_the_log_around_it_is_passed_over() -> None:
    first = "Layers:\nName: old, LayerType: kgen, Inputs: [], Constants: [], Outputs: []\n\n"
    assert [layer.name for layer in parse_layers(first)] == ["old"]
    assert parse_layers(f"noise\n{first}{TEXT}\nmore noise\n") == parse_layers(TEXT)


def test_names_with_brackets_commas_and_separators_are_kept() -> None:
    line = (
        "Name: /a/Conv, b_myl0_1, LayerType: correlation, Inputs: [ { Name: /a/[0], x, Dimensions: [1,2], Strides: "
        "[2,1], Datatype: Half, Format: (Linear) }], Outputs: [ { Name: y, Dimensions: [2], Datatype: Half }], "
        "TacticName: , StreamId: 0, Metadata: [ONNX Layer: /a/Conv]\x1e[ONNX Layer: /b/Relu]"
    )
    (layer,) = parse_layers(f"Layers:\n{line}\n")
    assert (layer.name, layer.nodes) == ("/a/Conv, b_myl0_1", ("/a/Conv", "/b/Relu"))
    assert layer.inputs == (Tensor("/a/[0], x", "Half", (1, 2)),)
    assert layer.outputs == (Tensor("y", "Half", (2,)),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no list of layers"),
        ("Layers:\n\n", "is empty"),
        (TEXT.replace(", LayerType: signal", ", Kind: signal"), "LayerType"),
        (TEXT.replace("Outputs:", "Results:"), "no list of inputs or of outputs"),
        (TEXT.replace("Datatype: Int8", "Kind: Int8", 1), "a tensor without"),
        (re.sub(r"Dimensions: \[1,8", "Dimensions: [1,n", TEXT), "a tensor without"),
    ],
)
def test_text_of_another_form_is_refused(text: str, words: str) -> None:
    with pytest.raises(DiffadError, match=words):
        parse_layers(text)
