"""What rounding one layer does: to its own output, to the map, and to the AUPRO of a labelled set.

One convolution is rounded at a time, in the graph that holds it; all else stays FP32, or FP16 beside the variant that
mixes both. The extractor counts like the student: noise on its features goes into the residual directly.
Knows engines and graphs. Does not know gates.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx  # noqa: TID251  calibration is where graphs are read
import onnxruntime
from onnx import TensorProto, helper  # noqa: TID251

from diffad_calibration.precision.onnxfile import load
from diffad_calibration.precision.variants import FORMS, GRAPHS, Calibrator, Graphs
from diffad_runtime.engines.onnxruntime import DISABLED_OPTIMISERS
from diffad_runtime.result import FloatMap, Image

AuproOf = Callable[[FloatMap], float]
SIGNAL_FRAMES = 4


@dataclass(frozen=True, slots=True)
class LayerEffect:
    """Of rounding one convolution.

    Attributes:
        graph, node, weight: which.
        sqnr_db: signal-to-quantisation-noise ratio of its output, 10 log10(power / power of the error), in decibels.
        map_noise: root mean square of what it changes in the map, in standard deviations of the FP32 maps.
        aupro_drop: AUPRO@0.3 lost; negative where it gains.
    """

    graph: str
    node: str
    weight: str
    sqnr_db: float
    map_noise: float
    aupro_drop: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def layer_effects(
    calibrator: Calibrator,
    name: str,
    images: Image,
    aupro: AuproOf,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerEffect]:
    """Round one convolution after the other as variant `name` does; the worst for the map comes first.

    Args:
        name: of an INT8 variant.
        images: uint8 (N, S, S, 3), good ones and ones with synthetic defects.
        aupro: of maps (N, S, S) of these images.
        progress: called with (layers done, layers in all).
    """
    maps = _Maps(calibrator.fp32, images)
    before = maps.of(calibrator.fp32)
    spread, reference = float(before.std()) or 1.0, aupro(before)
    layers = [(graph, node) for graph in GRAPHS for node in _rounded(calibrator, name, graph)]
    effects = []
    for done, (graph, node) in enumerate(layers, start=1):
        others = tuple(other.name for own, other in layers if own == graph and other.name != node.name)
        made = calibrator.one_graph(name, graph, keep_float=others)
        after = maps.of(_with(calibrator.fp32, graph, made))
        effects.append(
            LayerEffect(
                graph=graph,
                node=node.name,
                weight=node.input[1],
                sqnr_db=_sqnr(calibrator.fp32[graph], made, node.name, maps.feeds(graph)),
                map_noise=float(np.sqrt(np.mean(np.square(after - before, dtype=np.float64)))) / spread,
                aupro_drop=reference - aupro(after),
            )
        )
        if progress is not None:
            progress(done, len(layers))
    return sorted(effects, key=lambda one: -one.map_noise)


def signal_to_noise(exact: npt.NDArray[np.float32], rounded: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Power of the signal and of the error, sums over all values."""
    error = np.subtract(exact, rounded, dtype=np.float64)
    return float(np.square(exact, dtype=np.float64).sum()), float(np.square(error).sum())


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise), at most 200: no noise at all would be infinite, which JSON cannot say."""
    return min(200.0, 10 * float(np.log10(max(signal, 1e-30) / max(noise, 1e-30))))


class _Maps:
    """Maps by one graph changed and the other not; what the FP32 extractor says is computed once."""

    def __init__(self, fp32: Graphs, images: Image) -> None:
        self.fp32, self.images = fp32, images
        self._between = [_run(_session(fp32.extractor), {"image": image[None]}) for image in images]

    def feeds(self, graph: str) -> list[dict[str, Any]]:
        if graph == "extractor":
            return [{"image": image[None]} for image in self.images[-SIGNAL_FRAMES:]]
        return self._between[-SIGNAL_FRAMES:]

    def of(self, graphs: Graphs) -> FloatMap:
        second = _session(graphs.reconstructor)
        between: Sequence[dict[str, Any]] | Iterator[dict[str, Any]] = self._between
        if graphs.extractor is not self.fp32.extractor:
            first = _session(graphs.extractor)
            between = (_run(first, {"image": image[None]}) for image in self.images)
        return np.stack([_run(second, feed, ["anomaly_map"])["anomaly_map"][0] for feed in between])


def _with(fp32: Graphs, graph: str, made: bytes) -> Graphs:
    return Graphs(made, fp32.reconstructor) if graph == "extractor" else Graphs(fp32.extractor, made)


def _rounded(calibrator: Calibrator, name: str, graph: str) -> list[onnx.NodeProto]:
    """The convolutions of the FP32 graph that the variant runs in INT8."""
    made = load(calibrator.one_graph(name, graph)).graph
    makers = {node.output[0]: node.op_type for node in made.node}
    names = {one.name for one in made.node if one.op_type == "Conv" and makers.get(one.input[1]) == "DequantizeLinear"}
    return [node for node in load(calibrator.fp32[graph]).graph.node if node.name in names]


def _sqnr(exact: bytes, rounded: bytes, node: str, feeds: Sequence[dict[str, Any]]) -> float:
    tensor, after = _outputs(load(exact).graph, load(rounded).graph, node)
    first, second = _watching(exact, tensor), _watching(rounded, after)
    signal = noise = 0.0
    for feed in feeds:
        a, b = _run(first, feed, [tensor])[tensor], _run(second, feed, [after])[after]
        own = signal_to_noise(a.astype(np.float32), b.astype(np.float32))
        signal, noise = signal + own[0], noise + own[1]
    return decibels(signal, noise)


def _outputs(exact: onnx.GraphProto, rounded: onnx.GraphProto, node: str) -> tuple[str, str]:
    """What a convolution makes in FP32, and the same as the next node reads it where the convolution is rounded.

    Where its output is rounded, the quantiser takes out the activation behind it: the zero point clips as it did. An
    output of the graph keeps its name, and the convolution before it gets another.
    """
    own, made = (next(one.output[0] for one in graph.node if one.name == node) for graph in (exact, rounded))
    steps = {one.output[0] for one in rounded.node if one.op_type == "QuantizeLinear" and one.input[0] == made}
    read = [one.output[0] for one in rounded.node if one.op_type == "DequantizeLinear" and one.input[0] in steps]
    known = {name for one in exact.node for name in one.output}
    after = read[0] if read else made
    return next(name for name in (made, after, own) if name in known), after


def _watching(model: bytes, tensor: str) -> Any:
    proto = load(model)
    kind = next((one.type.tensor_type.elem_type for one in proto.graph.value_info if one.name == tensor), None)
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(tensor, kind or TensorProto.FLOAT, None))
    return _session(proto.SerializeToString())


def _session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMISERS
    )


def _run(session: Any, feed: dict[str, Any], wanted: list[str] | None = None) -> dict[str, Any]:
    inputs = {entry.name for entry in session.get_inputs()}
    names = wanted or [entry.name for entry in session.get_outputs()]
    found = session.run(names, {name: array for name, array in feed.items() if name in inputs})
    return dict(zip(names, found, strict=True))


def int8_variants(names: Sequence[str]) -> list[str]:
    """Those of `names` that round to 8 bits."""
    return [name for name in names if FORMS[name].precision.startswith("int8")]
