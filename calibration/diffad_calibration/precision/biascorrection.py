"""Bias correction: what rounding and clipping add to the mean of a channel is taken off the bias of its convolution.

After Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction (ICCV 2019), section 4.2, in
its empirical form: means are measured on calibration frames, before the activation, and convolutions are corrected in
order, so that each is measured with those before it corrected already. Costs nothing on the line.

Knows QDQ graphs. Does not know how ranges were chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are edited
import onnxruntime
from onnx import helper  # noqa: TID251

from diffad_calibration.precision.onnxfile import load, prepared
from diffad_calibration.precision.ranges import Feed
from diffad_runtime.engines.onnxruntime import DISABLED_OPTIMISERS


def bias_shifts(original: bytes, quantised: bytes, feeds: Sequence[Feed]) -> dict[str, npt.NDArray[np.float32]]:
    """What has to be added to each bias until every channel's mean is that of the float graph.

    A shift of a bias adds to the output as it is, so what a corrected convolution says is kept, and the next is run
    from there: every convolution runs once.

    Args:
        original: FP32; its convolutions have the node names of `quantised`.
        quantised: QDQ form, weights int8 per channel.
        feeds: frames to measure on, input name -> array.

    Returns:
        (C,) by the node's name, for the convolutions that run in INT8.
    """
    before, trial = prepared(original), load(quantised)
    convolutions = [node for node in trial.graph.node if node.op_type == "Conv" and _is_int8(trial.graph, node)]
    outputs = {node.name: node.output[0] for node in before.graph.node if node.op_type == "Conv"}
    expected = channel_means(before, [outputs[node.name] for node in convolutions], feeds)
    pieces = _pieces(trial.graph, [node.output[0] for node in convolutions])
    last_read = {tensor: step for step, piece in enumerate(pieces) for tensor in piece.reads}
    known: list[Feed] = [dict(feed) for feed in feeds]
    shifts: dict[str, npt.NDArray[np.float32]] = {}
    for step, (node, piece, mean) in enumerate(zip(convolutions, pieces, expected, strict=True)):
        session = _session(piece.model(trial, known[0]))
        answers = [session.run([piece.makes], {name: one[name] for name in piece.reads})[0] for one in known]
        found = np.mean([answer.mean((0, 2, 3), dtype=np.float64) for answer in answers], axis=0)
        shift = (mean - found).astype(np.float32)
        shifts[node.name] = shift
        for one, answer in zip(known, answers, strict=True):
            one[piece.makes] = answer + shift[:, None, None]
            for tensor in [name for name in one if last_read.get(name, -1) <= step]:
                del one[tensor]
    return shifts


@dataclass(frozen=True, slots=True)
class _Piece:
    """The nodes that lead to one convolution from graph inputs and from convolutions before it, itself among them."""

    nodes: list[onnx.NodeProto]
    reads: list[str]
    makes: str

    def model(self, whole: onnx.ModelProto, feed: Feed) -> onnx.ModelProto:
        """On its own; `feed` tells the types and shapes of what it reads."""
        used = {name for node in self.nodes for name in node.input}
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(feed[name].dtype), feed[name].shape)
            for name in self.reads
        ]
        output = helper.make_tensor_value_info(self.makes, onnx.TensorProto.FLOAT, None)
        constants = [entry for entry in whole.graph.initializer if entry.name in used]
        graph = helper.make_graph(self.nodes, "piece", inputs, [output], constants)
        return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)


def _pieces(graph: onnx.GraphProto, cuts: Sequence[str]) -> list[_Piece]:
    """One for each tensor of `cuts`, which are in topological order."""
    makers = {tensor: node for node in graph.node for tensor in node.output}
    constants = {entry.name for entry in graph.initializer}
    order = {node.name: place for place, node in enumerate(graph.node)}
    at = set(cuts)
    pieces = []
    for cut in cuts:
        nodes, reads, open_ = dict[str, onnx.NodeProto](), dict[str, None](), [cut]
        while open_:
            tensor = open_.pop()
            if not tensor or tensor in constants:
                continue
            if tensor not in makers or (tensor in at and tensor != cut):
                reads[tensor] = None
            elif makers[tensor].name not in nodes:
                nodes[makers[tensor].name] = makers[tensor]
                open_.extend(makers[tensor].input)
        pieces.append(_Piece(sorted(nodes.values(), key=lambda node: order[node.name]), list(reads), cut))
    return pieces


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
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=DISABLED_OPTIMISERS,
    )
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


def _session(model: onnx.ModelProto) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=DISABLED_OPTIMISERS,
    )


def _producer(graph: onnx.GraphProto, tensor: str) -> onnx.NodeProto | None:
    return next((node for node in graph.node if tensor in node.output), None)
