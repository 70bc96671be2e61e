"""INT8 for CPUs: static QDQ with uint8 activations and int8 weights per channel, the pair that x86 VNNI multiplies.

Knows ONNX graphs and onnxruntime's quantiser. Does not know what a graph computes: what must stay float is named by
the caller. TensorRT wants another recipe (symmetric int8) and gets its own file.

Measured on a conv + BN + ReLU UNet (width 32, 256 px, 2 x86 threads): quantising every operator between two
convolutions is fastest and most exact; convolutions alone leave QuantizeLinear and DequantizeLinear around each
ReLU, Resize and Concat.
"""

import ast
import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are edited
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from diffad_calibration.biascorrection import correct_biases
from diffad_runtime.errors import DataError, DiffadError, GateError

Feed = dict[str, npt.NDArray[Any]]

# Ops that run on uint8 between two convolutions. An op with no convolution behind it belongs to the score.
BETWEEN = frozenset({"Add", "AveragePool", "Clip", "Concat", "MaxPool", "Relu", "Resize"})
CORRECTION_FRAMES = 16
OPSETS = range(17, 21)
_FLOAT_CONVOLUTIONS = frozenset({"Conv", "FusedConv", "NhwcFusedConv"})
_SCOPES = "pkg.torch.onnx.name_scopes"


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


def simplify(model: bytes) -> bytes:
    """Fold constants and drop what only the exporter needs: metadata, doc strings, unused operator domains.

    Exporters write source paths and stack traces of the training machine into the metadata; a bundle must not ship
    them.

    Args:
        model: ONNX, no external data.

    Raises:
        DiffadError: not an ONNX graph of opset 17 to 20, or one that onnxruntime refuses.
    """
    _load(model)
    with tempfile.TemporaryDirectory(prefix="diffad-") as folder:
        _session(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC, Path(folder) / "basic.onnx")
        return _finished(onnx.load(Path(folder) / "basic.onnx"))


def quantise_for_cpu(
    model: bytes, calibration: Iterable[Feed], *, keep_float: Sequence[str] = (), correct_bias: bool = True
) -> bytes:
    """Quantise a graph's convolutions, and what lies between them, for onnxruntime on a CPU.

    Operators with no quantised convolution behind them (the score) stay float by themselves. A convolution in the
    score, such as a blur, must be named in `keep_float`.

    Args:
        model: FP32 ONNX, batch and sizes static, no external data.
        calibration: feeds, input name -> array, one frame each, as the graph will see them. Read once, one at a
            time; kept are the range of each tensor, and a few feeds for the correction of biases.
        keep_float: shell patterns matched against node names, names of the tensors they make and, for graphs of
            torch.onnx.export, dotted module names ("score" keeps the whole module; not after simplify, which drops
            them).
        correct_bias: measure on some of the feeds what rounding adds to each channel's mean, and take it off the bias.

    Returns:
        ONNX in QDQ form, one self-contained file.

    Raises:
        DataError: no calibration feeds, or a pattern that matches nothing.
        DiffadError: not a graph of opset 17 to 20, or onnxruntime refuses the graph or a feed.
    """
    original = _load(model)
    kept = _kept_tensors(original, keep_float)
    with tempfile.TemporaryDirectory(prefix="diffad-") as name, _quiet():
        folder = Path(name)
        try:
            # By path: given a ModelProto it moves the weights to a file of its own. Symbolic shape inference is for
            # dynamic shapes and leaves a file behind in the working folder.
            (folder / "original.onnx").write_bytes(model)
            quant_pre_process(folder / "original.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
        except Exception as error:  # onnxruntime and onnx raise a dozen types here, bare Exception among them
            raise _refused(error) from error
        prepared = onnx.load(folder / "prepared.onnx")
        for index, node in enumerate(prepared.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"
        chosen = _quantised_nodes(prepared.graph, kept)
        if not chosen:
            raise DataError("no convolution is left to quantise", mend="Shorten keep_float, or export FP32 only")
        before = onnx.ModelProto()
        before.CopyFrom(prepared)  # the quantiser moves the weights of what it is given
        reader = _Reader(calibration, keep=CORRECTION_FRAMES if correct_bias else 0)
        try:
            quantize_static(
                prepared,
                folder / "quantised.onnx",
                reader,
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", *sorted(BETWEEN)],
                nodes_to_quantize=chosen,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
            quantised = onnx.load(folder / "quantised.onnx")
            if correct_bias:
                correct_biases(before, quantised, reader.kept)
        except DiffadError:
            raise
        except Exception as error:  # as above; a feed that does not fit the graph lands here too
            raise _refused(error) from error
        return _finished(quantised)


def int8_coverage(model: bytes) -> Coverage:
    """Count, in the graph that onnxruntime really runs, which convolutions are INT8.

    Raises:
        DiffadError: not a graph of opset 17 to 20, or one that onnxruntime refuses.
    """
    _load(model)
    with tempfile.TemporaryDirectory(prefix="diffad-") as folder:
        # Fusion to QLinearConv happens at this level; the next one only changes memory layouts, and node names.
        _session(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED, Path(folder) / "extended.onnx")
        graph = onnx.load(Path(folder) / "extended.onnx").graph
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


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Hands feeds on one by one; `kept` are `keep` of those that passed, evenly spaced as far as can be known."""

    def __init__(self, feeds: Iterable[Feed], *, keep: int = 0) -> None:
        self.kept: list[Feed] = []
        self._feeds, self._keep = iter(feeds), keep
        self._count, self._stride = 0, 1

    def get_next(self) -> Feed | None:
        feed = next(self._feeds, None)
        if feed is None and self._count == 0:
            raise DataError("no frames to calibrate on", mend="Give at least one feed, better 32 or more")
        if feed is None:
            return None
        given = {name: np.ascontiguousarray(array) for name, array in feed.items()}
        if self._keep and self._count % self._stride == 0:
            self.kept.append(given)
            if len(self.kept) > self._keep:  # every second one goes, and only every second one comes from here on
                self.kept, self._stride = self.kept[::2], 2 * self._stride
        self._count += 1
        return given


def _kept_tensors(model: onnx.ModelProto, patterns: Sequence[str]) -> set[str]:
    """Outputs of the nodes that the patterns name. Tensor names outlive the fusions that rename nodes."""
    kept: set[str] = set()
    for pattern in patterns:
        found = [node for node in model.graph.node if any(fnmatchcase(name, pattern) for name in _names(node))]
        if not found:
            raise DataError(
                f"keep_float pattern {pattern!r} matches no node, tensor or module of the graph",
                mend="Check the name, or leave it out",
            )
        kept.update(tensor for node in found for tensor in node.output)
    return kept


def _names(node: onnx.NodeProto) -> list[str]:
    scopes = [entry.value for entry in node.metadata_props if entry.key == _SCOPES]
    modules = ast.literal_eval(scopes[0])[:-1] if scopes else []  # the last entry is the node itself
    return [node.name, *node.output, *(str(module) for module in modules if module)]


def _quantised_nodes(graph: onnx.GraphProto, kept: set[str]) -> list[str]:
    """Convolutions not kept, and the ops of BETWEEN with such convolutions on both sides.

    An activation right behind a convolution counts as part of it, whatever follows.
    """
    fuses = {"Relu", "Clip"}
    ahead: set[str] = set()  # tensors with a quantised convolution upstream
    direct: set[str] = set()  # tensors that a quantised convolution makes
    for node in graph.node:  # ONNX keeps nodes in topological order
        if node.op_type == "Conv" and not kept.intersection(node.output):
            direct.update(node.output)
            ahead.update(node.output)
        elif ahead.intersection(node.input):
            ahead.update(node.output)
    behind: set[str] = set()  # tensors with a quantised convolution downstream
    chosen: list[str] = []
    for node in reversed(graph.node):
        free = not kept.intersection(node.output)
        convolution = node.op_type == "Conv" and free
        leads_on = bool(behind.intersection(node.output))
        between = node.op_type in BETWEEN and leads_on and bool(ahead.intersection(node.input))
        fused = node.op_type in fuses and bool(direct.intersection(node.input))
        if convolution or (free and (between or fused)):
            chosen.append(node.name)
        if convolution:
            behind.add(node.input[0])
        elif leads_on:
            behind.update(node.input)
    return chosen[::-1]


def _load(model: bytes) -> onnx.ModelProto:
    mend = f"Export it again, with opset {OPSETS[1]}"
    try:
        proto = onnx.load_from_string(model)
    except Exception as error:  # protobuf's DecodeError, whose module differs between its versions
        raise DiffadError("not an ONNX graph: the bytes cannot be decoded", mend=mend) from error
    opset = next((entry.version for entry in proto.opset_import if entry.domain == ""), 0)
    if opset not in OPSETS:
        raise DiffadError(f"the graph has opset {opset}, expected {OPSETS[0]} to {OPSETS[-1]}", mend=mend)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise DiffadError(f"not a valid ONNX graph: {error}", mend=mend) from error
    return proto


def _session(model: bytes, level: Any, optimised: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(optimised)
    try:
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions derive from nothing narrower
        raise _refused(error) from error


def _refused(error: Exception) -> DiffadError:
    return DiffadError(
        f"onnxruntime refuses the graph or its inputs: {error}", mend="Check shapes and types of the exported graph"
    )


def _finished(proto: onnx.ModelProto) -> bytes:
    used = {node.domain for node in proto.graph.node} | {""}
    for entry in [entry for entry in proto.opset_import if entry.domain not in used]:
        proto.opset_import.remove(entry)
    parts = [proto, proto.graph, *proto.graph.node, *proto.graph.initializer, *proto.graph.value_info]
    for part in [*parts, *proto.graph.input, *proto.graph.output]:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantiser logs to the root logger, errors too, though it raises them as well."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
