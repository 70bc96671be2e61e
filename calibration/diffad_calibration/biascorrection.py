"""Bias correction: what rounding and clipping add to the mean of a channel is taken off the bias of its convolution.

After Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV 2019), section 4.2, in
its empirical form: means are measured on calibration frames, before the activation, and convolutions are corrected in
order, so that each is measured with those before it corrected already. Costs nothing on the line.

Knows QDQ graphs. Does not know how ranges were chosen.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are edited
import onnxruntime
from onnx import helper, numpy_helper  # noqa: TID251

Feed = dict[str, npt.NDArray[Any]]


def correct_biases(original: onnx.ModelProto, quantised: onnx.ModelProto, feeds: Sequence[Feed]) -> None:
    """Move the biases of `quantised`, in place, until each channel's mean is that of `original`.

    Args:
        original: FP32; its convolutions have the node names of `quantised`.
        quantised: QDQ form, weights int8 per channel, biases int32.
        feeds: frames to measure on, input name -> array.
    """
    convolutions = [node for node in quantised.graph.node if node.op_type == "Conv" and _is_int8(quantised.graph, node)]
    outputs = {node.name: node.output[0] for node in original.graph.node if node.op_type == "Conv"}
    names = [outputs[node.name] for node in convolutions]
    expected = dict(zip((node.name for node in convolutions), channel_means(original, names, feeds), strict=True))
    for node in convolutions:  # ONNX keeps nodes in topological order
        (found,) = channel_means(quantised, [node.output[0]], feeds)
        _shift_bias(quantised.graph, node, expected[node.name] - found)


def channel_means(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[Feed]
) -> list[npt.NDArray[np.float64]]:
    """Mean over frames and places of each channel of `tensors` (B, C, H, W) within the graph: (C,) each.

    A convolution whose output is looked at is computed in float on the rounded inputs and weights, so what is seen lies
    before the rounding and clipping of its own output.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]  # what leads nowhere is not computed
    watched.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {entry.name for entry in session.get_inputs()}
    sums: list[npt.NDArray[np.float64]] | None = None
    for feed in feeds:
        answers = session.run(list(tensors), {name: array for name, array in feed.items() if name in wanted})
        means = [answer.mean((0, 2, 3), dtype=np.float64) for answer in answers]
        sums = means if sums is None else [a + b for a, b in zip(sums, means, strict=True)]
    return [total / len(feeds) for total in sums or []]


def _is_int8(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    source = _producer(graph, node.input[1])
    return source is not None and source.op_type == "DequantizeLinear"


def _shift_bias(graph: onnx.GraphProto, node: onnx.NodeProto, shift: npt.NDArray[np.float64]) -> None:
    """Add `shift` (C,) to the bias of a convolution; one that has no bias is given one."""
    source = _producer(graph, node.input[2]) if len(node.input) > 2 else None
    if source is not None:
        bias, limits = _constant(graph, source.input[0]), np.iinfo(np.int32)
        steps = np.round(shift / _scale(graph, node.input[2]))
        moved = np.clip(numpy_helper.to_array(bias).astype(np.float64) + steps, limits.min, limits.max)
        bias.CopyFrom(numpy_helper.from_array(moved.astype(np.int32), bias.name))
        return
    if len(node.input) > 2:  # kept in float
        bias = _constant(graph, node.input[2])
        bias.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(bias) + shift).astype(np.float32), bias.name))
        return
    scale = _scale(graph, node.input[0]) * np.broadcast_to(_scale(graph, node.input[1]), shift.shape)
    steps = np.round(shift / scale)
    stem = f"{node.name}_corrected_bias"
    graph.initializer.extend(
        [
            numpy_helper.from_array(steps.astype(np.int32), stem),
            numpy_helper.from_array(scale.astype(np.float32), f"{stem}_scale"),
            numpy_helper.from_array(np.zeros(shift.shape, np.int32), f"{stem}_zero_point"),
        ]
    )
    dequantise = helper.make_node(
        "DequantizeLinear",
        [stem, f"{stem}_scale", f"{stem}_zero_point"],
        [f"{stem}_DequantizeLinear_Output"],
        name=f"{stem}_DequantizeLinear",
        axis=0,
    )
    graph.node.insert(0, dequantise)
    node.input.append(dequantise.output[0])


def _scale(graph: onnx.GraphProto, tensor: str) -> npt.NDArray[np.float64]:
    """Scale of the DequantizeLinear that makes `tensor`."""
    source = _producer(graph, tensor)
    if source is None or source.op_type != "DequantizeLinear":
        raise ValueError(f"{tensor} is not dequantised")
    return np.asarray(numpy_helper.to_array(_constant(graph, source.input[1])), np.float64)


def _producer(graph: onnx.GraphProto, tensor: str) -> onnx.NodeProto | None:
    return next((node for node in graph.node if tensor in node.output), None)


def _constant(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(entry for entry in graph.initializer if entry.name == name)
    return found
