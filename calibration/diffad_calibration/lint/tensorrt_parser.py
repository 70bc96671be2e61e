"""Rules for what TensorRT's ONNX parser reads: operators, types, modes. Each function yields (where, what).

Knows the lists of tensorrt_operators.py. Does not know Q/DQ (qdq.py).
"""

from collections.abc import Iterator

from onnx import TensorProto  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.lint.graphview import GraphView, attribute, type_name, words
from diffad_calibration.lint.structure import Breach
from diffad_calibration.lint.tensorrt_operators import (
    CONSTANT_INPUTS,
    OPERATORS,
    POOLING,
    RESIZE,
    RESIZE_DEFAULTS,
    TYPES,
)

_QUANTISERS = frozenset({"DequantizeLinear", "QuantizeLinear"})


def operator(view: GraphView) -> Iterator[Breach]:
    """On the list of operators."""
    for node in view.nodes:
        if node.op_type not in OPERATORS:
            yield node.name, f"operator {node.op_type} is not on the list of TensorRT 10.3's parser"


def operator_type(view: GraphView) -> Iterator[Breach]:
    """Of a type that the parser documents for this operator."""
    for node in view.nodes:
        allowed = OPERATORS.get(node.op_type)
        kind = type_name(view.type(node.input[0])) if node.input and node.input[0] else "UNDEFINED"
        if allowed is None or kind == "UNDEFINED" or kind not in TYPES or kind == "UINT8":
            continue  # each has a rule of its own
        if kind not in allowed:
            yield node.name, f"{node.op_type} of {kind}, expected {' or '.join(sorted(allowed))}"


def element_type(view: GraphView) -> Iterator[Breach]:
    """No type that TensorRT lacks or converts silently, such as DOUBLE and INT16."""
    for name, kind in view.types.items():
        if kind != TensorProto.UNDEFINED and type_name(kind) not in TYPES:
            yield name, f"{type_name(kind)}, expected {', '.join(sorted(TYPES))}"


def uint8(view: GraphView) -> Iterator[Breach]:
    """Only a network input may be UINT8, and only Cast may read it."""
    for node in view.nodes:
        if node.op_type in _QUANTISERS:
            continue
        for name in node.input:
            if view.type(name) == TensorProto.UINT8 and not (node.op_type == "Cast" and name in view.inputs):
                yield node.name, f"{node.op_type} reads the UINT8 tensor {name!r}; only Cast of a network input may"
        for name in node.output:
            if view.type(name) == TensorProto.UINT8 and name in view.outputs:
                yield node.name, f"{node.op_type} makes the UINT8 output {name!r}; only a network input may be UINT8"


def resize(view: GraphView) -> Iterator[Breach]:
    """Modes on the list, no antialias, all axes."""
    for node in view.of_type("Resize"):
        for key, allowed in RESIZE.items():
            value = str(attribute(node, key, RESIZE_DEFAULTS[key]))
            if value not in allowed:
                yield node.name, f"{key} {value}, expected {' or '.join(sorted(allowed))}"
        if attribute(node, "axes", None) is not None:
            yield node.name, "resizes some axes only, expected scales or sizes for all"


def pooling(view: GraphView) -> Iterator[Breach]:
    """Two or three dimensions, no dilation, no indices."""
    for node in view.of_type(*POOLING):
        shape = view.shapes.get(node.input[0])
        if shape is not None and len(shape) not in {4, 5}:
            yield node.name, f"{node.op_type} of {words(shape)}, expected 2 or 3 dimensions behind batch and channels"
        if any(step != 1 for step in attribute(node, "dilations", [])):
            yield node.name, f"{node.op_type} with dilations, expected none"
        if len([name for name in node.output if name]) > 1:
            yield node.name, f"{node.op_type} gives indices too, expected values only"


def constant_inputs(view: GraphView) -> Iterator[Breach]:
    """Axes, bounds, scales and sizes are constants."""
    for node in view.nodes:
        for index in CONSTANT_INPUTS.get(node.op_type, ()):
            if index < len(node.input) and node.input[index] and node.input[index] not in view.fixed:
                yield node.name, f"input {index} of {node.op_type} is computed, expected a constant"
