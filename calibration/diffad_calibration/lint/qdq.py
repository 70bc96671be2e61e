"""Rules for QuantizeLinear and DequantizeLinear, per family of backends. Each function yields (where, what).

Knows what TensorRT and ONNX Runtime's CPU provider make of Q/DQ. Does not know how ranges were chosen.
"""

from collections.abc import Iterator

import numpy as np
import onnx  # noqa: TID251  calibration is where graphs are read
from onnx import TensorProto  # noqa: TID251

from diffad_calibration.lint.graphview import GraphView, attribute, is_finite, type_name, words
from diffad_calibration.lint.structure import Breach

_Q, _DQ = "QuantizeLinear", "DequantizeLinear"
_INT8, _UINT8, _INT32 = int(TensorProto.INT8), int(TensorProto.UINT8), int(TensorProto.INT32)


def not_quantised(view: GraphView) -> Iterator[Breach]:
    """A graph for any backend holds no Q/DQ: the families want different types."""
    found = list(view.of_type(_Q, _DQ))
    if found:
        yield found[0].name, f"{len(found)} Q/DQ nodes in a graph made for any backend, expected none"


def uint8_activations(view: GraphView) -> Iterator[Breach]:
    """TensorRT reads UINT8 with zero point 0 as INT8, silently: everything above 127 is wrong."""
    for node in view.nodes:
        tensor = {_Q: node.output, _DQ: node.input}.get(node.op_type, [""])[0]
        if tensor and view.type(tensor) == _UINT8:
            yield node.name, f"uint8 activations in {tensor!r}, expected int8"


def zero_point_everywhere(view: GraphView) -> Iterator[Breach]:
    """TensorRT is symmetric."""
    yield from _zero_points(view, list(view.of_type(_Q, _DQ)))


def zero_point_of_weights(view: GraphView) -> Iterator[Breach]:
    """The CPU's fast path has symmetric weights."""
    yield from _zero_points(view, [node for node in view.of_type(_DQ) if node.input[0] in view.constants])


def int32_bias(view: GraphView) -> Iterator[Breach]:
    """TensorRT dequantises no INT32."""
    for node in view.of_type(_DQ):
        if view.type(node.input[0]) == _INT32:
            yield node.name, f"int32 bias {node.input[0]!r} behind a DequantizeLinear, expected a float bias"


def quantised_constant(view: GraphView) -> Iterator[Breach]:
    """A weight is stored as INT8 with a DequantizeLinear behind it; no other constant is quantised."""
    for node in view.of_type(_Q):
        if node.input[0] in view.fixed:
            yield node.name, f"QuantizeLinear of the constant {node.input[0]!r}, expected it stored as int8"
    for node in view.of_type(_DQ):
        if view.type(node.input[0]) == _INT8 and node.input[0] in view.constants and not view.weight_of(node.output[0]):
            yield node.name, f"DequantizeLinear of {node.input[0]!r}, which is no weight, expected a float constant"


def scale(view: GraphView) -> Iterator[Breach]:
    """A constant, above 0, finite, in FP16 too."""
    for node in view.of_type(_Q, _DQ):
        values = view.array(node.input[1])
        if values is None:
            yield node.name, f"its scale {node.input[1]!r} is computed, expected a constant"
        elif not (is_finite(values) and bool((values > 0).all())):
            yield node.name, f"its scale {node.input[1]!r} has values that are not positive and finite"


def channel_scale(view: GraphView) -> Iterator[Breach]:
    """One scale for an activation; for a weight one, or one an output channel."""
    for node in view.of_type(_Q, _DQ):
        values = view.array(node.input[1])
        if values is None or values.ndim == 0 or view.type(node.input[0]) == _INT32:
            continue  # a bias has the scales of its weight
        if node.input[0] not in view.fixed:
            yield node.name, f"{values.size} scales for an activation, expected one"
            continue
        shape = view.shapes.get(node.input[0], ())
        axis = int(attribute(node, "axis", 1)) % max(len(shape), 1)
        if shape and values.shape != (shape[axis],):
            yield node.name, f"{values.size} scales along axis {axis} of {words(shape)}, expected {shape[axis]}"
        for owner in view.weight_of(node.output[0]):
            expected = _output_axis(owner, len(shape))
            if axis != expected:
                yield node.name, f"scales along axis {axis} of the weight of {owner.name}, expected axis {expected}"


def pairs(view: GraphView) -> Iterator[Breach]:
    """Q is read by DQ alone, DQ reads Q or a constant, and both have the same scale."""
    for node in view.of_type(_Q):
        made = node.output[0]
        readers = view.readers.get(made, [])
        if made in view.outputs or not readers or any(reader.op_type != _DQ for reader in readers):
            yield node.name, "QuantizeLinear without a DequantizeLinear behind it"
    for node in view.of_type(_DQ):
        if node.input[0] in view.constants:
            continue
        maker = view.makers.get(node.input[0])
        if maker is None or maker.op_type != _Q:
            yield node.name, "DequantizeLinear without a QuantizeLinear before it"
        elif not _same(view, maker.input[1], node.input[1]) or not _same(view, _zero(maker), _zero(node)):
            yield node.name, f"scale or zero point differ from those of {maker.name}"


def half_quantised(view: GraphView) -> Iterator[Breach]:
    """Input and weight are both quantised, or neither; with one of them the convolution silently runs in float."""
    for node in view.of_type("Conv", "ConvTranspose", "Gemm"):
        found = [name in view.makers and view.makers[name].op_type == _DQ for name in node.input[:2]]
        if found[0] != found[1]:
            which, other = ("input", "weight") if found[0] else ("weight", "input")
            yield node.name, f"its {which} is quantised and its {other} is not, expected both or neither"


def float_input(view: GraphView) -> Iterator[Breach]:
    """A quantised weight meets a quantised input. The reverse is allowed: a layer kept out of INT8 reads what is there.

    Fetching the float tensor instead would keep the convolution before it from running in INT8.
    """
    for breach in half_quantised(view):
        if "its weight is quantised" in breach[1]:
            yield breach


def int8_activations(view: GraphView) -> Iterator[Breach]:
    """The CPU multiplies uint8 activations with int8 weights."""
    for node in view.of_type(_Q):
        if view.type(node.output[0]) != _UINT8:
            kind = type_name(view.type(node.output[0])).lower()
            yield node.name, f"{kind} activations in {node.output[0]!r}, expected uint8"


def int8_weights(view: GraphView) -> Iterator[Breach]:
    """The CPU multiplies uint8 activations with int8 weights."""
    for node in view.of_type(_DQ):
        kind = view.type(node.input[0])
        if node.input[0] in view.constants and view.weight_of(node.output[0]) and kind != _INT8:
            yield node.name, f"{type_name(kind).lower()} weights in {node.input[0]!r}, expected int8"


def _zero_points(view: GraphView, nodes: list[onnx.NodeProto]) -> Iterator[Breach]:
    for node in nodes:
        name = _zero(node)
        if not name or view.type(name) not in {_INT8, _INT32}:
            continue  # other types have a rule of their own
        values = view.array(name)
        if values is None:
            yield node.name, f"its zero point {name!r} is computed, expected the constant 0"
        elif values.any():
            yield node.name, f"its zero point {name!r} is {int(values[values != 0].flat[0])}, expected 0"


def _zero(node: onnx.NodeProto) -> str:
    return str(node.input[2]) if len(node.input) > 2 else ""


def _same(view: GraphView, one: str, other: str) -> bool:
    if one == other:
        return True
    first, second = view.array(one), view.array(other)
    if first is None or second is None:
        given = first if first is not None else second
        return given is not None and "" in {one, other} and not given.any()  # no zero point means 0
    return bool(np.array_equal(first, second))


def _output_axis(node: onnx.NodeProto, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 1 if node.op_type == "ConvTranspose" else rank - 1
