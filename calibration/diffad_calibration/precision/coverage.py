"""Which convolutions really run in INT8 on a CPU: counted in the graph that onnxruntime makes of a quantised one.

Knows names of onnxruntime's fused operators. Does not know how a graph was quantised.
"""

from collections import Counter
from dataclasses import dataclass

import onnxruntime

from diffad_calibration.precision.onnxfile import load, optimised
from diffad_runtime.errors import GateError

_FLOAT_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})


@dataclass(frozen=True, slots=True)
class Coverage:
    """What onnxruntime makes of a graph.

    Attributes:
        qlinear_conv: convolutions that run in INT8.
        float_conv: names of the convolutions that stay float.
        operators: count of every operator in the optimised graph, by type.
    """

    qlinear_conv: int
    float_conv: list[str]
    operators: dict[str, int]


def int8_coverage(model: bytes) -> Coverage:
    """Count, in the graph that onnxruntime really runs, which convolutions are INT8.

    Raises:
        DiffadError: not a graph of opset 17 to 20, or one that onnxruntime refuses.
    """
    load(model)
    # Fusion to QLinearConv happens at this level; the next one only changes memory layouts, and node names.
    graph = optimised(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED).graph
    operators = Counter(node.op_type for node in graph.node)
    floats = sorted(node.name or node.output[0] for node in graph.node if node.op_type in _FLOAT_CONVOLUTIONS)
    return Coverage(operators["QLinearConv"], floats, dict(sorted(operators.items())))


def check_coverage(coverage: Coverage, *, float_convolutions: int) -> None:
    """Refuse a graph in which convolutions stayed float behind our back.

    Args:
        coverage: of the quantised graph.
        float_convolutions: convolutions kept float on purpose.

    Raises:
        GateError: more float convolutions than that, or no INT8 convolution at all.
    """
    if coverage.qlinear_conv == 0 or len(coverage.float_conv) > float_convolutions:
        raise GateError(
            f"{len(coverage.float_conv)} convolutions stayed float, expected {float_convolutions}, and "
            f"{coverage.qlinear_conv} run in INT8; float: {', '.join(coverage.float_conv[:5])}",
            mend="Look for a node between convolution and activation, or list the convolution in keep_float",
        )
