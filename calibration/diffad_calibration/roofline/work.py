"""A graph as the kernels that a builder would make of it: operations by what computes them, bytes by precision.

Knows ONNX graphs of static shapes. Does not know any board, time or efficiency.

What a convolution computes in is what its inputs are: INT8 where data and weights come from a DequantizeLinear, FP16 or
FP32 otherwise. FP32 runs on tensor cores, rounded to TF32, where the builder may, or else on CUDA cores. Tensor cores
work on blocks of eight channels, so depthwise and other thin grouped convolutions count as work of CUDA cores, and so
does all that is not a convolution or product of matrices.

Every kernel reads its tensors from memory and writes them back: that a second reader may find them in the cache is not
counted. Scales and zero points of Q and DQ are not counted either: they are part of the kernel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.lint.graphview import GraphView, view
from diffad_calibration.precision.onnxfile import load
from diffad_calibration.roofline.fusion import Group, fuse
from diffad_calibration.roofline.operators import HEAVY, Kind, is_guessed, kind_of, operations, shape_of, size_of
from diffad_runtime.errors import DiffadError

RATES: Final = ("int8", "fp16", "tf32", "fp32", "cuda")
"""What computes: tensor cores by precision; CUDA cores, in "fp32" where they multiply matrices, in "cuda" else."""
_BLOCK = 8
_EIGHT_BITS = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.UINT8})
_HALF = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})
_LINEAR = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True, slots=True)
class Kernel:
    """One fused layer.

    Attributes:
        name: of the node that it is named after.
        kind: that node's type; "Elementwise" for a kernel of such nodes alone.
        nodes: names of all its nodes.
        operations: by what computes them, of `RATES`; a multiply-add counts as two.
        read: bytes of activations.
        weights: bytes of constants.
        written: bytes.
        apart: bytes that are moved beside these where the builder makes two kernels of it, 0 where it has no reason to:
            around INT8, a convolution may give its sums to a second kernel that adds, activates and rounds.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    operations: dict[str, int]
    read: int
    weights: int
    written: int
    apart: int = 0

    @property
    def moved(self) -> int:
        """Bytes through memory, as one kernel."""
        return self.read + self.weights + self.written

    @property
    def launches(self) -> tuple[int, int]:
        """Kernels: fewest and most."""
        return 1, 2 if self.apart else 1

    @property
    def total(self) -> int:
        """Operations."""
        return sum(self.operations.values())

    @property
    def intensity(self) -> float:
        """Operations for each byte moved, as one kernel; 0.0 where nothing moves."""
        return self.total / self.moved if self.moved else 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "nodes": list(self.nodes),
            "operations": self.operations,
            "bytes": {"read": self.read, "weights": self.weights, "written": self.written, "apart": self.apart},
            "operations_per_byte": self.intensity,
        }


@dataclass(frozen=True, slots=True)
class GraphWork:
    """One graph.

    Attributes:
        kernels: in an order in which they can run.
        live: bytes of activations that must exist at one time at least, inputs and outputs included.
        weights: bytes of constants, each counted once, in the precision that the engine keeps them in.
        float_weights: the same in float32: what a parser and builder may hold while they work.
        guessed: operators whose operations are not known and were counted as one a value.
    """

    kernels: tuple[Kernel, ...]
    live: int
    weights: int
    float_weights: int
    guessed: tuple[str, ...]

    @property
    def total(self) -> int:
        """Operations."""
        return sum(kernel.total for kernel in self.kernels)

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes through memory: fewest and most."""
        fewest = sum(kernel.moved for kernel in self.kernels)
        return fewest, fewest + sum(kernel.apart for kernel in self.kernels)

    @property
    def launches(self) -> tuple[int, int]:
        """Kernels: fewest and most."""
        return len(self.kernels), sum(kernel.launches[1] for kernel in self.kernels)


def graph_work(model: bytes, *, tf32: bool = True) -> GraphWork:
    """Count.

    Args:
        model: ONNX, no external data.
        tf32: FP32 convolutions and products may run on tensor cores.

    Raises:
        DiffadError: not an ONNX graph of opset 17 to 20, a tensor whose size is not known, or control flow.
    """
    graph = view(load(model))
    groups = fuse(graph)
    constants = dict.fromkeys(name for group in groups for name in _weights(graph, group))
    guessed = dict.fromkeys(node.op_type for group in groups for node in group.nodes if is_guessed(node))
    return GraphWork(
        kernels=tuple(_kernel(graph, group, tf32=tf32) for group in groups),
        live=_live(graph, groups),
        weights=sum(_bytes(graph, name) for name in constants),
        float_weights=sum(4 * size_of(graph, name) for name in constants),
        guessed=tuple(guessed),
    )


def _kernel(graph: GraphView, group: Group, *, tf32: bool) -> Kernel:
    counted: dict[str, int] = dict.fromkeys(RATES, 0)
    for node in group.nodes:
        counted[_rate(graph, node, tf32=tf32)] += operations(graph, node)
    heavy = next((node for node in group.nodes if node.op_type in HEAVY), None)
    first = group.nodes[0]
    alone = heavy is None and kind_of(first) in {Kind.POINTWISE, Kind.MOVE}
    return Kernel(
        name=(heavy or first).name,
        kind="Elementwise" if alone else (heavy or first).op_type,
        nodes=tuple(node.name for node in group.nodes),
        operations={rate: count for rate, count in counted.items() if count},
        read=sum(_bytes(graph, name) for name in group.reads),
        weights=sum(_bytes(graph, name) for name in _weights(graph, group)),
        written=sum(_bytes(graph, name) for name in group.writes),
        apart=0 if heavy is None else _apart(graph, group, heavy),
    )


def _apart(graph: GraphView, group: Group, heavy: onnx.NodeProto) -> int:
    """Bytes written and read again where a builder leaves what follows an INT8 convolution to a second kernel."""
    rounds = any(graph.type(name) in _EIGHT_BITS for name in (*group.reads, *group.writes))
    if not rounds or len(group.nodes) == 1:
        return 0
    # Sums of INT8 products are given as FP32 by TensorRT-RTX, also in a graph of FP16.
    width = 4 if _is_int8(graph, heavy) else _width(graph, heavy.output[0])
    return 2 * width * size_of(graph, heavy.output[0])


def _rate(graph: GraphView, node: onnx.NodeProto, *, tf32: bool) -> str:
    if node.op_type not in HEAVY or _is_thin(graph, node):
        return "cuda"
    if _is_int8(graph, node):
        return "int8"
    if graph.type(node.input[0]) in _HALF:
        return "fp16"
    return "tf32" if tf32 else "fp32"


def _is_thin(graph: GraphView, node: onnx.NodeProto) -> bool:
    groups = next((int(entry.i) for entry in node.attribute if entry.name == "group"), 1)
    weights = shape_of(graph, node.input[1])
    return groups > 1 and min(weights[1], weights[0] // groups) < _BLOCK


def _is_int8(graph: GraphView, node: onnx.NodeProto) -> bool:
    makers = [graph.makers.get(name) for name in node.input[:2]]
    return all(
        maker is not None and maker.op_type == "DequantizeLinear" and graph.type(maker.input[0]) in _EIGHT_BITS
        for maker in makers
    )


def _weights(graph: GraphView, group: Group) -> Iterator[str]:
    """Constants of a group in the form that is stored; what Q and DQ read beside the tensor itself is left out."""
    of_scales = {name for node in group.nodes if node.op_type in _LINEAR for name in node.input[1:]}
    for name in group.constants:
        if name not in of_scales:
            maker = graph.makers.get(name)
            yield maker.input[0] if maker is not None and maker.op_type == "DequantizeLinear" else name


def _bytes(graph: GraphView, tensor: str) -> int:
    return _width(graph, tensor) * size_of(graph, tensor)


def _width(graph: GraphView, tensor: str) -> int:
    kind = graph.type(tensor)
    if kind == onnx.TensorProto.UNDEFINED:
        raise DiffadError(f"the type of tensor {tensor!r} is not known", mend="Export the graph again")
    return int(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).itemsize)


def _live(graph: GraphView, groups: list[Group]) -> int:
    """The most bytes at one time, each tensor from its first to its last kernel; inputs and outputs all along."""
    last = {name: index for index, group in enumerate(groups) for name in (*group.reads, *group.writes)}
    ends = {*graph.inputs, *graph.outputs}
    always = sum(_bytes(graph, name) for name in ends if name in last)
    current, most = 0, 0
    for index, group in enumerate(groups):
        current += sum(_bytes(graph, name) for name in group.writes if name not in ends)
        most = max(most, current)
        done = {name for name in (*group.reads, *group.writes) if last[name] == index and name not in ends}
        current -= sum(_bytes(graph, name) for name in done)
    return always + most
