"""What an engine's layers say about a quantised graph: which convolutions run in INT8, and what flows in between.

Knows ONNX graphs and the records of layertext.py. Needs no TensorRT. Does not judge; the gates do.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.oracle.layertext import Layer

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_EVENTS = frozenset({"signal", "wait"})  # streams waiting for each other; nothing is computed
_POINTWISE = "kgen"
_HEAVY = "correlation"


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution of the graph.

    Attributes:
        node: its ONNX name.
        marked: input and weight both come from a DequantizeLinear: it is meant to run in INT8.
        kernel: name of the layer that computes it, "" where the text does not say.
        int8: that kernel reads INT8 activations and INT8 weights.
        output: type of what the kernel writes, "" where unknown.
    """

    node: str
    marked: bool
    kernel: str
    int8: bool
    output: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """Tensors of one type that one kernel writes for another to read. Each is counted once.

    Attributes:
        type: TensorRT's word.
        tensors: how many.
        bytes: their sizes in memory together.
    """

    type: str
    tensors: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LayerReport:
    """An engine as its builder reported it.

    Attributes:
        name: of the graph, as the caller gave it.
        builder: which builder and version.
        layers: in order of execution, events between streams included.
        convolutions: in order of the graph.
        between: tensors between kernels by type, most bytes first; inputs and outputs of the engine, and constants,
            are not among them.
        kernels: layers that compute or move something.
        plan_bytes: size of the serialised engine.
        build_s: seconds, on the machine that built.
    """

    name: str
    builder: str
    layers: tuple[Layer, ...]
    convolutions: tuple[Convolution, ...]
    between: tuple[Traffic, ...]
    kernels: int
    plan_bytes: int
    build_s: float

    @property
    def marked(self) -> int:
        """Convolutions meant to run in INT8."""
        return sum(entry.marked for entry in self.convolutions)

    @property
    def int8(self) -> int:
        """Convolutions meant to run in INT8 that do."""
        return sum(entry.marked and entry.int8 for entry in self.convolutions)

    @property
    def share(self) -> float:
        """int8 / marked; 0.0 where none is marked, so that an unquantised graph never passes for a quantised one."""
        return self.int8 / self.marked if self.marked else 0.0

    @property
    def missed(self) -> list[str]:
        """Nodes meant to run in INT8 that do not."""
        return [entry.node for entry in self.convolutions if entry.marked and not entry.int8]

    @property
    def float_tensors(self) -> int:
        """Float and Half tensors between kernels."""
        return sum(entry.tensors for entry in self.between if entry.type in {"Float", "Half"})

    @property
    def float_bytes(self) -> int:
        """Bytes of the Float and Half tensors between kernels."""
        return sum(entry.bytes for entry in self.between if entry.type in {"Float", "Half"})

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the counted figures among them."""
        counted = ("marked", "int8", "share", "missed", "float_tensors", "float_bytes")
        return {name: getattr(self, name) for name in counted} | asdict(self)


def make_report(
    model: onnx.ModelProto, layers: Sequence[Layer], *, name: str, builder: str, plan_bytes: int, build_s: float
) -> LayerReport:
    """Put a graph and its engine's layers side by side.

    Args:
        model: the graph that was built; its nodes have unique names.
        layers: of the engine.
        name: for the report.
        builder: for the report.
        plan_bytes: size of the serialised engine.
        build_s: seconds it took to build.
    """
    computing = [layer for layer in layers if layer.kind not in _EVENTS]
    return LayerReport(
        name=name,
        builder=builder,
        layers=tuple(layers),
        convolutions=tuple(_convolutions(model.graph, computing)),
        between=_between(computing),
        kernels=len(computing),
        plan_bytes=plan_bytes,
        build_s=build_s,
    )


def _convolutions(graph: onnx.GraphProto, layers: Sequence[Layer]) -> list[Convolution]:
    dequantised = {tensor for node in graph.node if node.op_type == "DequantizeLinear" for tensor in node.output}
    found = []
    for node in graph.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        kernel = _kernel_of(node.name, layers)
        found.append(
            Convolution(
                node=node.name,
                marked={*node.input[:2]} <= dequantised,
                kernel=kernel.name if kernel else "",
                int8=kernel is not None and _reads_int8(kernel),
                output=kernel.outputs[0].type if kernel and kernel.outputs else "",
            )
        )
    return found


def _kernel_of(node: str, layers: Sequence[Layer]) -> Layer | None:
    """The layer that multiplies. A convolution's name stands beside its bias in the pointwise kernel behind it too."""
    named = [layer for layer in layers if node in layer.nodes]
    heavy = [layer for layer in named if layer.kind == _HEAVY]
    other = [layer for layer in named if layer.kind != _POINTWISE]
    return next(iter([*heavy, *other]), None)


def _reads_int8(kernel: Layer) -> bool:
    """A convolution's first input is its activation; in a fusion of several nodes the order is not known."""
    inputs = kernel.inputs[:1] if kernel.kind == _HEAVY else kernel.inputs
    return any(entry.type == "Int8" for entry in inputs) and any(entry.type == "Int8" for entry in kernel.constants)


def _between(layers: Sequence[Layer]) -> tuple[Traffic, ...]:
    read = {tensor.name for layer in layers for tensor in layer.inputs}
    handed = {tensor.name: tensor for layer in layers for tensor in layer.outputs if tensor.name in read}
    kinds = sorted({tensor.type for tensor in handed.values()})
    totals = [
        Traffic(kind, len(sizes), sum(sizes))
        for kind in kinds
        for sizes in [[tensor.bytes for tensor in handed.values() if tensor.type == kind]]
    ]
    return tuple(sorted(totals, key=lambda total: -total.bytes))
