"""Whether a variant still holds the weights of the FP32 graph that it was made of, but for rounding.

Knows names and rounding. Does not judge accuracy. Biases are not compared: they are corrected on purpose.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.lint.finding import Finding
from diffad_calibration.lint.graphview import WEIGHTED, GraphView, attribute, view
from diffad_calibration.lint.structure import external_data, valid

Floats = npt.NDArray[np.float64]
SUFFIX = "_quantized"  # what onnxruntime's quantiser adds to the name of a weight
HALF_RELATIVE = 2.0**-10
HALF_SMALLEST = 1.2e-7  # below it FP16 has no number, and onnxruntime's converter rounds up to 1e-7
FLOAT_RELATIVE = 2.0**-20
_PASS = frozenset({"Cast", "Identity"})
_MEND = "Make the variant again from the FP32 graph of the same bundle"


def compare_weights(reference_fp32: bytes, variant: bytes) -> list[Finding]:
    """Hold every weight of a variant against the reference's of the same name.

    Within rounding is: half a step for INT8, and what rounding its scale to FP16 adds; 2^-10 relative for FP16.

    Args:
        reference_fp32: ONNX, the FP32 graph.
        variant: ONNX of another precision, made of that graph.

    Returns:
        "weights" where values differ, "foreign-weight" where a convolution or product has a weight that the reference
        does not have by that name; "valid" alone where a graph cannot be read.
    """
    reference, seen = _read(reference_fp32), _read(variant)
    if isinstance(reference, str) or isinstance(seen, str):
        which, what = ("FP32 graph", reference) if isinstance(reference, str) else ("variant", seen)
        return [Finding("valid", "graph", f"weights of the {which} cannot be read: {what}", _MEND)]
    biases = {name for graph in (reference, seen) for name in _biases(graph)}
    found = []
    for name, values, tolerance in _floats(seen):
        expected = reference.array(name)
        if name in biases or expected is None or expected.dtype.kind != "f":
            continue
        if difference := _difference(np.asarray(expected, np.float64), values, tolerance):
            found.append(Finding("weights", name, difference, _MEND))
    for node in seen.nodes:
        for tensor in _weight_inputs(node):
            name = _source(seen, tensor).removesuffix(SUFFIX)
            known = reference.array(name) is not None
            if name in {*seen.constants, *(key.removesuffix(SUFFIX) for key in seen.constants)} and not known:
                what = f"{node.op_type} has the weight {name!r}, which the FP32 graph does not have"
                found.append(Finding("foreign-weight", node.name, what, _MEND))
    return found


def _read(model: bytes) -> GraphView | str:
    """The graph, or what is wrong with it."""
    try:
        seen = view(onnx.load_from_string(model))
    except Exception:  # protobuf's DecodeError, whose module differs between its versions; names that are no UTF-8
        return "the bytes cannot be decoded"
    return next((what for rule in (external_data, valid) for _, what in rule(seen)), seen)


def _floats(seen: GraphView) -> Iterator[tuple[str, Floats, Floats]]:
    """Name in the reference, values and how far each may be off."""
    for name in seen.constants:
        values = seen.array(name)
        if values is None:
            continue
        if values.dtype.kind == "f":
            with np.errstate(invalid="ignore"):  # NaN is found below
                wide = np.asarray(values, np.float64)
            half = values.dtype == np.float16
            tolerance = np.abs(wide) * (HALF_RELATIVE if half else FLOAT_RELATIVE) + HALF_SMALLEST * half
            yield name, wide, tolerance
        elif name.endswith(SUFFIX):
            for node in seen.readers.get(name, []):
                if node.op_type == "DequantizeLinear" and (both := _dequantised(seen, node, values)):
                    yield name.removesuffix(SUFFIX), *both


def _dequantised(seen: GraphView, node: onnx.NodeProto, steps: npt.NDArray[np.integer]) -> tuple[Floats, Floats] | None:
    scale = seen.array(node.input[1])
    zero = seen.array(node.input[2]) if len(node.input) > 2 else np.zeros(1)
    if scale is None or zero is None:
        return None
    axis = int(attribute(node, "axis", 1))
    shape = [1] * steps.ndim
    if scale.size > 1 or zero.size > 1:
        fits = -steps.ndim <= axis < steps.ndim and {scale.shape, zero.shape} <= {(steps.shape[axis],), (1,), ()}
        if not fits:
            return np.full(steps.shape, np.nan), np.zeros(steps.shape)  # scales of another tensor
        shape[axis] = -1
    step, offset = np.asarray(scale, np.float64).reshape(shape), np.asarray(zero, np.float64).reshape(shape)
    values = (steps - offset) * step
    coarse = 2.0**-10 if scale.dtype == np.float16 else 2.0**-20
    return values, step * 0.5 + np.abs(values) * coarse


def _difference(expected: Floats, values: Floats, tolerance: Floats) -> str:
    if expected.shape != values.shape:
        return f"shape {values.shape}, expected {expected.shape}"
    error = np.abs(values - expected)
    wrong = int(np.count_nonzero(~(error <= tolerance)))  # NaN is wrong too
    if not wrong:
        return ""
    power = float((expected * expected).sum())
    factor = float((expected * values).sum()) / power if power else float("nan")
    return (
        f"{wrong} of {values.size} values are off by more than rounding, the worst by {float(error.max()):.3g}; on the "
        f"whole they are {factor:.4g} times the FP32 graph's"
    )


def _weight_inputs(node: onnx.NodeProto) -> list[str]:
    if node.op_type not in WEIGHTED:
        return []
    return list(node.input[:2] if node.op_type == "MatMul" else node.input[1:2])


def _source(seen: GraphView, tensor: str) -> str:
    """The constant that a tensor comes from, or the tensor itself."""
    while (maker := seen.makers.get(tensor)) and maker.op_type in _PASS | {"DequantizeLinear", "QuantizeLinear"}:
        tensor = maker.input[0]
    return tensor


def _biases(seen: GraphView) -> Iterator[str]:
    for node in seen.nodes:
        if node.op_type in WEIGHTED and len(node.input) > 2 and node.input[2]:
            yield _source(seen, node.input[2]).removesuffix(SUFFIX)
