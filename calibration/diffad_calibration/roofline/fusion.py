"""Which nodes of a graph share a kernel, as TensorRT's documentation describes its fusions.

Knows the rules below. Does not know sizes in bytes, nor any board.

1. What depends on constants and shapes alone is computed when the engine is built. Reshape and the like are another
   name for the same memory, and so is a DequantizeLinear: whoever reads it reads the INT8 tensor.
2. A convolution or product of matrices takes in the elementwise nodes behind it, bias, activation, residual Add and
   QuantizeLinear among them, as long as sizes stay and nobody but elementwise nodes reads what is in between. Where the
   branches do not meet again the kernel writes both.
3. Elementwise nodes and copies in a row are one kernel. Resize, Concat, pooling, reductions and whatever is not known
   start one, which elementwise nodes behind them join.
4. Of several kernels that a node could join: a convolution first, then the one that took in most. Never so that two
   kernels wait for each other.

Held against TensorRT-RTX 1.7.1 (SM86) on the bundle of `diffad-edge demo`, 128 px, these rules / its builder:

                       extractor: kernels, MB of activations      reconstructor
    fp32               36 / 39          17.2 / 17.5               40 / 40          7.5 / 7.5
    fp16               40 / 40          9.7 / 9.6                 40 / 40          4.7 / 4.8
    int8-trt           36 to 68 / 69    11.5 to 26.7 / 27.6       40 to 63 / 52    3.5 to 7.8 / 6.6
    int8-fp16-trt      40 to 73 / 69    7.8 to 20.8 / 20.5        40 to 63 / 52    3.4 to 7.7 / 6.6

In float the nodes are grouped alike, but for copies around a Concat. In INT8 its convolutions give FP32, and a second
kernel behind them adds, activates and rounds; TensorRT's own kernels are documented to do that themselves. Hence the
ranges of INT8: from one kernel to two (`Kernel.apart` of work.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

import onnx  # noqa: TID251  calibration is where graphs are read

from diffad_calibration.lint.graphview import GraphView
from diffad_calibration.roofline.operators import Kind, kind_of, size_of

_SIZES = frozenset({"Shape", "Size"})  # known when the engine is built: sizes are fixed


@dataclass(frozen=True, slots=True)
class Group:
    """The nodes of one kernel.

    Attributes:
        nodes: the first one names it.
        reads: tensors in memory that it reads, each once.
        constants: weights and other constants that it reads, each once.
        writes: tensors that another kernel reads, or the network gives.
    """

    nodes: tuple[onnx.NodeProto, ...]
    reads: tuple[str, ...]
    constants: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(slots=True)
class _Draft:
    nodes: list[onnx.NodeProto]
    kind: Kind
    needs: set[int] = field(default_factory=set)


def fuse(graph: GraphView) -> list[Group]:
    """Kernels in an order in which they can run.

    Raises:
        DiffadError: a size is not known.
    """
    return _Fusion(graph).groups()


class _Fusion:
    def __init__(self, graph: GraphView) -> None:
        self._graph = graph
        self._constant = set(graph.fixed)
        self._home: dict[str, str] = {}  # tensor -> the one whose memory it is
        self._drafts: list[_Draft] = []
        self._maker: dict[str, int] = {}
        real: list[onnx.NodeProto] = []
        for node in graph.nodes:
            if node.op_type in _SIZES or self._constant.issuperset(filter(None, node.input)):
                self._constant.update(filter(None, node.output))
            elif self._is_alias(node):
                self._home[node.output[0]] = self.home(node.input[0])
            else:
                real.append(node)
        self._given = {self.home(name) for name in graph.outputs}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in real:
            for name in self.tensors(node):
                self._readers.setdefault(name, []).append(node)
        for node in real:
            self._place(node)

    def home(self, tensor: str) -> str:
        return self._home.get(tensor, tensor)

    def tensors(self, node: onnx.NodeProto) -> list[str]:
        """What a node reads of what was computed, each once."""
        return list(dict.fromkeys(self.home(name) for name in node.input if name and name not in self._constant))

    def groups(self) -> list[Group]:
        order = TopologicalSorter({index: sorted(draft.needs) for index, draft in enumerate(self._drafts)})
        return [self._group(index) for index in order.static_order()]

    def _is_alias(self, node: onnx.NodeProto) -> bool:
        dequantised = node.op_type == "DequantizeLinear" and node.output[0] not in self._graph.outputs
        return dequantised or kind_of(node) is Kind.FREE

    def _place(self, node: onnx.NodeProto) -> None:
        kind, read = kind_of(node), self.tensors(node)
        sources = {self._maker[name] for name in read if name in self._maker}
        open_to = [
            self._maker[name]
            for name in read
            if name in self._maker and self._joins(node, kind, name) and not self._waits(sources, self._maker[name])
        ]
        if open_to:
            chosen = max(
                open_to, key=lambda one: (self._drafts[one].kind is Kind.HEAVY, len(self._drafts[one].nodes), one)
            )
            self._drafts[chosen].nodes.append(node)
        else:
            chosen = len(self._drafts)
            self._drafts.append(_Draft([node], kind))
        self._drafts[chosen].needs |= sources - {chosen}
        self._maker.update(dict.fromkeys(filter(None, node.output), chosen))

    def _joins(self, node: onnx.NodeProto, kind: Kind, tensor: str) -> bool:
        into = self._drafts[self._maker[tensor]].kind
        if kind not in {Kind.POINTWISE, Kind.MOVE}:
            return False
        if into in {Kind.POINTWISE, Kind.MOVE}:
            return True
        inside = tensor not in self._given and all(
            kind_of(reader) is Kind.POINTWISE for reader in self._readers[tensor]
        )
        same = into is not Kind.HEAVY or size_of(self._graph, node.output[0]) == size_of(self._graph, tensor)
        return kind is Kind.POINTWISE and inside and same

    def _waits(self, sources: Iterable[int], draft: int) -> bool:
        """Whether one of the sources, but the draft itself, needs what the draft makes."""
        seen, left = set(), [source for source in sources if source != draft]
        while left:
            one = left.pop()
            if one == draft:
                return True
            if one not in seen:
                seen.add(one)
                left.extend(self._drafts[one].needs)
        return False

    def _group(self, index: int) -> Group:
        nodes = self._drafts[index].nodes
        mine = {id(node) for node in nodes}
        made = [name for node in nodes for name in node.output if name]
        read = dict.fromkeys(name for node in nodes for name in self.tensors(node))
        constants = dict.fromkeys(name for node in nodes for name in node.input if name and name in self._constant)
        written = [
            name
            for name in made
            if name in self._given or any(id(reader) not in mine for reader in self._readers.get(name, ()))
        ]
        return Group(tuple(nodes), tuple(name for name in read if name not in made), tuple(constants), tuple(written))
