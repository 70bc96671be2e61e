"""Rules for every graph, whatever is to run it: one self-contained file, static, finite, of plain ONNX.

Each function yields (where, what). Knows ONNX, no backend and no quantisation.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx  # noqa: TID251  calibration is where graphs are read
from onnx import TensorProto  # noqa: TID251

from diffad_calibration.lint.graphview import GraphView, is_finite, type_name, words
from diffad_calibration.precision.onnxfile import OPSETS

Breach = tuple[str, str]
PLAIN: Final = frozenset({"", "ai.onnx"})
# Operators whose inputs from the index on must share one type. ONNX itself allows Pow more than TensorRT does.
SAME_TYPE: Final = dict.fromkeys(
    (
        *("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu"),
        *("Concat", "Conv", "ConvTranspose", "Gemm", "MatMul"),
        *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    ),
    0,
) | {"Where": 1}


def opset(view: GraphView) -> Iterator[Breach]:
    """17 to 20: what TensorRT 10.3 reads, and where its Q/DQ rules are known."""
    for entry in view.model.opset_import:
        if entry.domain in PLAIN and entry.version not in OPSETS:
            yield "graph", f"opset {entry.version}, expected {OPSETS[0]} to {OPSETS[-1]}"
    if not any(entry.domain in PLAIN for entry in view.model.opset_import):
        yield "graph", f"no opset stated, expected {OPSETS[0]} to {OPSETS[-1]}"


def domain(view: GraphView) -> Iterator[Breach]:
    """No operators of other makers, and no functions of the graph's own."""
    for node in view.nodes:
        if node.domain not in PLAIN:
            yield node.name, f"operator {node.op_type} of domain {node.domain!r}, expected ONNX's own operators"
    used = {node.domain for node in view.nodes}
    for entry in view.model.opset_import:
        if entry.domain not in PLAIN and entry.domain not in used:
            yield "graph", f"imports the domain {entry.domain!r}, though no node is of it"
    for function in view.model.functions:
        yield function.name, "a function defined in the file, expected plain nodes"


def external_data(view: GraphView) -> Iterator[Breach]:
    """All weights lie in the file: a bundle ships one file a graph."""
    for name, tensor in view.constants.items():
        if tensor.data_location == TensorProto.EXTERNAL:
            yield name, "its values lie in another file, expected them inside"


def mixed_types(view: GraphView) -> Iterator[Breach]:
    """One type per operator; neither ONNX nor a strongly typed TensorRT network converts by itself."""
    for node in view.nodes:
        first = SAME_TYPE.get(node.op_type)
        if first is None or node.domain not in PLAIN:
            continue
        kinds = {view.type(name) for name in node.input[first:] if name} - {TensorProto.UNDEFINED}
        if len(kinds) > 1:
            yield node.name, f"{node.op_type} of {' and '.join(sorted(map(type_name, kinds)))}, expected one type"


def valid(view: GraphView) -> Iterator[Breach]:
    """ONNX's checker with strict shape inference agrees, and the values of every constant can be read."""
    try:
        onnx.checker.check_model(view.model, full_check=True)
    except Exception as error:  # beside its own two types it lets protobuf's and Python's through
        yield "graph", f"ONNX's checker says {' '.join(str(error).split())[:200]}"
        return
    for name in view.constants:
        try:
            view.array(name)
        except (TypeError, ValueError) as error:  # more or fewer values than its shape says
            yield name, f"its values cannot be read: {error}"


def static_shape(view: GraphView) -> Iterator[Breach]:
    """Every size of every tensor is a number, so that memory is planned once."""
    for name in [*view.inputs, *(name for node in view.nodes for name in node.output if name)]:
        shape = view.shapes.get(name)
        if shape is None:
            yield name, "its shape cannot be inferred, expected fixed sizes"
        elif any(size is None for size in shape):
            yield name, f"{words(shape)}, expected fixed sizes"


def batch(view: GraphView) -> Iterator[Breach]:
    """One frame at a time."""
    for name in (*view.inputs, *view.outputs):
        shape = view.shapes.get(name, ())
        if shape and shape[0] is not None and shape[0] != 1:
            yield name, f"{words(shape)}, expected 1 first"


def finite(view: GraphView) -> Iterator[Breach]:
    """No NaN and no infinity in any constant; a weight beyond 65504 becomes infinity in FP16."""
    for name in view.constants:
        values = view.array(name)
        if values is not None and values.dtype.kind in "fV" and not is_finite(values):
            wrong = int(np.count_nonzero(~np.isfinite(values)))
            yield name, f"{wrong} of {values.size} values are not finite"
