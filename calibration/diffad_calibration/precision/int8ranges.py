"""Which ranges a QDQ graph rounds to, and its biases, read back by the names of its convolutions' weights.

Knows QDQ graphs. Does not know how ranges were chosen, nor what is done with them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are read
from onnx import numpy_helper  # noqa: TID251

from diffad_runtime.errors import DiffadError

_SUFFIX = "_quantized"  # what onnxruntime's quantiser adds to the name of a weight


@dataclass(frozen=True, slots=True)
class Range:
    """uint8 of one tensor: q = round(value / scale) + zero_point, clipped to 0..255."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class ConvRanges:
    """Of one convolution.

    Attributes:
        input: what it reads.
        output: what it makes, after the activation; None where that stays float.
        bias: (Cout,) float64 in the unit of the output, corrected if the graph is; None where it has none.
    """

    input: Range
    output: Range | None
    bias: npt.NDArray[np.float64] | None


def int8_ranges(model: bytes) -> dict[str, ConvRanges]:
    """Ranges of every INT8 convolution by the name of its weight, without the quantiser's suffix.

    Args:
        model: as `quantise_for_cpu` gives it.

    Raises:
        DiffadError: no quantised convolution in the graph.
    """
    graph = onnx.load_from_string(model).graph
    constants = {entry.name: entry for entry in graph.initializer}
    makers = {tensor: node for node in graph.node for tensor in node.output}
    rounds = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}

    def of(node: onnx.NodeProto) -> Range:
        scale, zero = (np.asarray(numpy_helper.to_array(constants[name])) for name in node.input[1:3])
        return Range(float(scale), int(zero))

    def bias_of(node: onnx.NodeProto) -> npt.NDArray[np.float64] | None:
        if len(node.input) < 3:
            return None
        maker = makers.get(node.input[2])
        if maker is None:
            return np.asarray(numpy_helper.to_array(constants[node.input[2]]), np.float64)
        steps, scale = (np.asarray(numpy_helper.to_array(constants[name]), np.float64) for name in maker.input[:2])
        return steps * scale

    found: dict[str, ConvRanges] = {}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        source, weight = makers.get(node.input[0]), makers.get(node.input[1])
        if source is None or weight is None or {source.op_type, weight.op_type} != {"DequantizeLinear"}:
            continue
        after = rounds.get(node.output[0])
        name = weight.input[0].removesuffix(_SUFFIX)
        found[name] = ConvRanges(of(source), None if after is None else of(after), bias_of(node))
    if not found:
        raise DiffadError("no INT8 convolution in the graph", mend="Give a graph that quantise_for_cpu made")
    return found
