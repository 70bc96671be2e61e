"""The reduced precisions: how each is made of an FP32 graph and what calibration saw. One row a recipe.

Precision is held in the ONNX file, so that no backend decides anything by itself. Knows onnxruntime's quantiser. Does
not know how ranges were measured, nor whether the outcome is good enough.

Measured on a conv + BN + ReLU UNet (width 32, 256 px, 2 x86 threads): on a CPU, quantising every operator between two
convolutions is fastest and most exact; convolutions alone leave QuantizeLinear and DequantizeLinear around each ReLU,
Resize and Concat. TensorRT fuses those itself, and wants Q/DQ on what convolutions read only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are edited
from onnx import TensorProto, numpy_helper  # noqa: TID251
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from diffad_calibration.precision.half import SCALES_OPSET, to_half, with_opset
from diffad_calibration.precision.onnxfile import finished, load, prepared, quiet, refused
from diffad_calibration.precision.placement import (
    BETWEEN,
    Extremes,
    convolutions,
    convolutions_and_between,
    half_nodes,
    kept_tensors,
)
from diffad_calibration.precision.ranges import Range
from diffad_runtime.errors import DataError, DiffadError

Shifts = Mapping[str, npt.NDArray[np.float32]]
"""What is added to the bias of a convolution, by the node's name: (C,) each."""

_QUANTISED = "_quantized"  # what the quantiser adds to the name of a weight
_INT8_MAX = 127


@dataclass(frozen=True, slots=True)
class Recipe:
    """How INT8 is made.

    Attributes:
        activations: uint8 with a zero point, or int8 around 0.
        between: what lies between convolutions is rounded too.
        int32_bias: biases are rounded as well.
        depthwise: so are convolutions of more than one group. Their channels share a range but not a size, so rounding
            hurts them most, and TensorRT gains nothing by them: of an EfficientNet-Lite0, the parser and builder of
            TensorRT-RTX padded their channels and moved 55 MB between kernels, 41 with them in FP16.
        half: what is not INT8 is FP16, as far as `half_nodes` lets it.
    """

    activations: QuantType
    between: bool
    int32_bias: bool
    depthwise: bool
    half: bool

    @property
    def symmetric(self) -> bool:
        """Whether ranges lie around 0."""
        return bool(self.activations == QuantType.QInt8)


CPU = Recipe(QuantType.QUInt8, between=True, int32_bias=True, depthwise=True, half=False)
TENSORRT = Recipe(QuantType.QInt8, between=False, int32_bias=False, depthwise=False, half=False)
TENSORRT_HALF = Recipe(QuantType.QInt8, between=False, int32_bias=False, depthwise=False, half=True)


def quantise(
    model: bytes,
    recipe: Recipe,
    ranges: Mapping[str, Range],
    *,
    extremes: Extremes | None = None,
    keep_float: Sequence[str] = (),
    shifts: Shifts | None = None,
) -> bytes:
    """INT8 in QDQ form. The same arguments give the same bytes.

    Operators with no quantised convolution behind them (the score) stay float by themselves. A convolution in the
    score, such as a blur, must be named in `keep_float`.

    Args:
        model: FP32 ONNX, batch and sizes static, no external data.
        ranges: of the tensors around convolutions, by name.
        extremes: of all float tensors; for recipes with `half`.
        keep_float: as `kept_tensors`; such nodes stay FP16 in recipes with `half`.
        shifts: added to biases before anything is rounded.

    Raises:
        DataError: a pattern that matches nothing, no convolution left, or a tensor without a range.
        DiffadError: not a graph of opset 17 to 20, or onnxruntime refuses it.
    """
    kept = kept_tensors(load(model), keep_float)
    proto = prepared(model)
    shift_biases(proto.graph, shifts or {})
    if recipe.between:
        chosen = convolutions_and_between(proto.graph, kept)
    else:
        chosen = convolutions(proto.graph, kept, grouped=recipe.depthwise)
    if not chosen:
        raise DataError("no convolution is left to quantise", mend="Shorten keep_float, or export FP32 only")
    known = dict(ranges)
    weights = {entry.name: numpy_helper.to_array(entry) for entry in proto.graph.initializer}
    if recipe.half:
        proto = to_half(with_opset(proto, SCALES_OPSET), half_nodes(proto.graph, extremes or {}))
        known = _behind_casts(proto.graph, known)
    missing = [name for name in _read_by(proto.graph, chosen) if name not in known]
    if missing:
        raise DataError(
            f"{len(missing)} tensors have no range, as {missing[0]!r}", mend="Calibrate on this very graph again"
        )
    made = _rounded(proto, recipe, chosen, known)
    if not recipe.between:
        _read_unrounded(made.graph)
    if recipe.half:
        _round_weights_once(made.graph, weights)
    return finished(made)


def _rounded(proto: onnx.ModelProto, recipe: Recipe, chosen: list[str], ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """What onnxruntime's quantiser makes of the nodes chosen."""
    # A scale has the type of its range, and must have that of the tensor: FP32 where the range guard left it so.
    typed = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    halves = {entry.name for entry in typed if entry.type.tensor_type.elem_type == TensorProto.FLOAT16}
    data = {name: tuple(map(np.float16 if name in halves else np.float32, ends)) for name, ends in ranges.items()}
    with quiet():
        try:
            quantiser = QDQQuantizer(
                proto,
                True,  # scales per channel
                False,
                QuantType.QInt8,
                recipe.activations,
                TensorsData(CalibrationMethod.MinMax, data),
                chosen,
                [],
                ["Conv", *sorted(BETWEEN)] if recipe.between else ["Conv"],
                {
                    "ActivationSymmetric": recipe.symmetric,
                    "WeightSymmetric": True,
                    "QuantizeBias": recipe.int32_bias,
                    "OpTypesToExcludeOutputQuantization": [] if recipe.between else ["Conv"],
                },
            )
            quantiser.quantize_model()
            quantiser.model.topological_sort()
        except DiffadError:
            raise
        except Exception as error:  # onnxruntime and onnx raise a dozen types here, bare Exception among them
            raise refused(error) from error
    made: onnx.ModelProto = quantiser.model.model
    return made


def _behind_casts(graph: onnx.GraphProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """With the tensors on the other side of each cast: it changes the name, not the values."""
    known = dict(ranges)
    for node in graph.node:
        if node.op_type == "Cast":
            for old, new in ((node.input[0], node.output[0]), (node.output[0], node.input[0])):
                if old in known:
                    known.setdefault(new, known[old])
    return known


def halve(model: bytes, extremes: Extremes, *, keep_float: Sequence[str] = ()) -> bytes:
    """FP16 where `half_nodes` lets it, FP32 elsewhere; inputs and outputs FP32.

    Args:
        model: FP32 ONNX, batch and sizes static, no external data.
        extremes: smallest and largest value of all float tensors, by name.
        keep_float: as `kept_tensors`.

    Raises:
        DataError: a pattern that matches nothing.
        DiffadError: not a graph of opset 17 to 20, or onnxruntime refuses it.
    """
    kept = kept_tensors(load(model), keep_float)
    proto = prepared(model)
    return finished(to_half(proto, half_nodes(proto.graph, extremes, kept)))


def shift_biases(graph: onnx.GraphProto, shifts: Shifts) -> None:
    """Add to the biases of convolutions, in place; one that has no bias is given one.

    Raises:
        DataError: a name that is no convolution.
    """
    nodes = {node.name: node for node in graph.node if node.op_type == "Conv"}
    constants = {entry.name: entry for entry in graph.initializer}
    for name, shift in shifts.items():
        if name not in nodes:
            raise DataError(f"the graph has no convolution {name!r}", mend="Calibrate on this very graph again")
        node = nodes[name]
        channels = int(constants[node.input[1]].dims[0])
        if shift.shape != (channels,):
            raise DataError(
                f"{shift.size} shifts for the {channels} channels of convolution {name!r}", mend="Calibrate again"
            )
        bias = node.input[2] if len(node.input) > 2 else ""
        before = numpy_helper.to_array(constants[bias]) if bias else np.float32(0)
        moved = numpy_helper.from_array((before + shift).astype(np.float32), f"{name}_shifted_bias")
        graph.initializer.append(moved)
        node.input[:] = [*node.input[:2], moved.name]
    read = {name for node in graph.node for name in node.input}
    for entry in [entry for entry in graph.initializer if entry.name not in read]:
        graph.initializer.remove(entry)


def _read_unrounded(graph: onnx.GraphProto) -> None:
    """Let convolutions that stay float read what was there before it was rounded for others, in place.

    Not where what lies between is rounded too: the convolution before it would then have to give its output in float.
    """
    makers = {node.output[0]: node for node in graph.node}
    for node in graph.node:
        source = makers.get(node.input[0]) if node.op_type == "Conv" else None
        weight = makers.get(node.input[1]) if source is not None else None
        if source is None or source.op_type != "DequantizeLinear" or weight is not None:
            continue
        node.input[0] = makers[source.input[0]].input[0]
    read = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        for node in [one for one in graph.node if one.op_type == kind and one.output[0] not in read]:
            graph.node.remove(node)
        read = {name for node in graph.node for name in node.input} | {entry.name for entry in graph.output}
    for entry in [entry for entry in graph.initializer if entry.name not in read]:
        graph.initializer.remove(entry)


def _round_weights_once(graph: onnx.GraphProto, weights: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Round int8 weights from FP32, in place: the quantiser saw them in FP16, and divided in FP16.

    Scales are rounded up to FP16, so that the largest weight of a channel is not clipped.
    """
    constants = {entry.name: entry for entry in graph.initializer}
    for node in graph.node:
        name = node.input[0].removesuffix(_QUANTISED)
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants or name not in weights:
            continue
        if constants[node.input[1]].data_type != TensorProto.FLOAT16:
            continue  # of a convolution that stayed FP32
        exact = weights[name].astype(np.float64)
        largest = np.abs(exact).reshape(len(exact), -1).max(1)
        scale = (largest / _INT8_MAX).astype(np.float16)
        scale = np.where(scale * np.float64(_INT8_MAX) < largest, np.nextafter(scale, np.float16(np.inf)), scale)
        scale = np.maximum(scale, np.finfo(np.float16).smallest_subnormal)
        steps = np.rint(exact / scale.astype(np.float64).reshape(-1, *[1] * (exact.ndim - 1)))
        constants[node.input[0]].CopyFrom(numpy_helper.from_array(steps.astype(np.int8), node.input[0]))
        constants[node.input[1]].CopyFrom(numpy_helper.from_array(scale.astype(np.float16), node.input[1]))


def _read_by(graph: onnx.GraphProto, chosen: Sequence[str]) -> list[str]:
    names, constants = set(chosen), {entry.name for entry in graph.initializer}
    return [node.input[0] for node in graph.node if node.name in names and node.input[0] not in constants]
