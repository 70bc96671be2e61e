"""An ONNX graph as far as it must be understood before an engine is given it, without the onnx package.

Knows which fields hold nodes, attributes, weights and sizes. Does not know what operators do (onnxshapes.py), nor what
is allowed (onnxlimits.py).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from diffad_runtime.bundle.protobuf import BYTES, FIXED32, VARINT, Wire, signed
from diffad_runtime.errors import BundleError

MEND: Final = "Export the bundle again with 'diffad-edge export'"
_FEW: Final = 64  # values of a weight that are worth knowing: sizes, axes, scales
# TensorProto.DataType -> bytes of a value (onnx.proto3).
TYPES: Final = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""All that a tensor may be of; text is not among them."""
_INT32, _INT64, _FLOAT = 6, 7, 1


@dataclass(frozen=True, slots=True)
class Weight:
    """A tensor in the file.

    Attributes:
        shape: sizes.
        numbers: its values, where they are few and int32, int64 or float32; None elsewhere.
    """

    shape: tuple[int, ...]
    numbers: tuple[float, ...] | None


Attribute = int | float | str | tuple[int, ...] | Weight


@dataclass(frozen=True, slots=True)
class Node:
    """One operator, with its inputs and outputs by name ("" for one left out) and what it is told besides."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclass(frozen=True, slots=True)
class Graph:
    """The main graph: nodes in their order, weights by name, sizes of the inputs by name."""

    nodes: Sequence[Node]
    weights: Mapping[str, Weight]
    inputs: Mapping[str, tuple[int, ...]]


def read_graph(graph: bytes | memoryview, name: str) -> Graph:
    """Read a ModelProto that has one plain graph.

    Args:
        graph: the serialised model; check_onnx took it.
        name: of the bundle member, for messages.

    Raises:
        BundleError: functions, subgraphs, sparse tensors, training, operators of another domain than ONNX's own, a
            weight whose size is not that of its data, inputs without sizes.
    """
    return _Reader(name).model(memoryview(graph))


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._wire = Wire(name)

    def model(self, view: memoryview) -> Graph:
        found: list[Graph] = []
        for field, kind, _, payload in self._wire.fields(view):
            if field == 7 and kind == BYTES:
                found.append(self._graph(payload))
            elif field == 8:
                for domain in self._inside(payload, 1):
                    self._text(domain)
            elif field in {20, 25}:
                raise self._refused("brings functions or training of its own")
        if len(found) != 1:
            raise self._refused(f"holds {len(found)} graphs, expected one")
        return found[0]

    def _graph(self, view: memoryview) -> Graph:
        nodes: list[Node] = []
        weights: dict[str, Weight] = {}
        inputs: dict[str, tuple[int, ...]] = {}
        for field, _, _, payload in self._wire.fields(view):
            if field == 1:
                nodes.append(self._node(payload))
            elif field == 5:
                name, weight = self._tensor(payload)
                weights[name] = weight
            elif field in {11, 12, 13}:  # of outputs and what lies between only the names are looked at
                name, sizes = self._value(payload)
                if field == 11:
                    inputs[name] = sizes
            elif field == 2:
                self._text(payload)
            elif field == 15:
                raise self._refused("holds sparse tensors")
        return Graph(nodes, weights, {name: sizes for name, sizes in inputs.items() if name not in weights})

    def _node(self, view: memoryview) -> Node:
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: dict[str, Attribute] = {}
        operator = domain = ""
        for field, _, _, payload in self._wire.fields(view):
            if field == 1:
                inputs.append(self._text(payload))
            elif field == 2:
                outputs.append(self._text(payload))
            elif field == 4:
                operator = self._text(payload)
            elif field == 5:
                name, value = self._attribute(payload)
                if name in attributes:
                    raise self._refused(f"gives an operator the attribute {name!r:.60} twice")
                attributes[name] = value
            elif field == 3:
                self._text(payload)
            elif field == 7:
                domain = self._text(payload)
            elif field in {8, 10}:
                raise self._refused("holds nodes for certain devices or overloads")
        if domain not in {"", "ai.onnx"}:
            raise self._refused(f"uses the operator {operator!r:.60} of the domain {domain!r:.60}, expected ONNX's own")
        return Node(operator, tuple(inputs), tuple(outputs), attributes)

    def _attribute(self, view: memoryview) -> tuple[str, Attribute]:
        name = ""
        value: Attribute = ()
        numbers: list[int] = []
        kinds: set[int] = set()  # readers choose by the attribute's type: of two values each might take another
        for field, kind, number, payload in self._wire.fields(view):
            if field == 1:
                name = self._text(payload)
                continue
            if field in {13, 20}:
                continue
            if field == 2 and kind == FIXED32:
                value = struct.unpack("<f", payload)[0]
            elif field == 3 and kind == VARINT:
                value = signed(number)
            elif field == 4:
                value = self._text(payload)
            elif field == 5 and 5 not in kinds:
                value = self._tensor(payload)[1]
            elif field == 8:
                numbers += [signed(number)] if kind == VARINT else self._packed(payload)
            elif field not in {7, 9}:
                raise self._refused("holds graphs or tensors inside attributes")
            kinds.add(field)
        if len(kinds) > 1:
            raise self._refused(f"gives the attribute {name!r:.60} two values")
        return name, tuple(numbers) if 8 in kinds else value

    def _tensor(self, view: memoryview) -> tuple[str, Weight]:
        sizes: list[int] = []
        name, type_, raw = "", 0, b""
        values, typed = 0, memoryview(b"")
        loose: list[int] = []
        held = False
        for field, kind, number, payload in self._wire.fields(view):
            if field == 1:
                sizes += [signed(number)] if kind == VARINT else self._packed(payload)
            elif field == 2:
                type_ = number
            elif field == 8:
                name = self._text(payload)
            elif field == 9:
                raw, held = payload, True  # type: ignore[assignment]
            elif field in {4, 5, 7, 10, 11}:
                if kind == VARINT:
                    loose.append(signed(number))
                    values += 1
                else:
                    typed = payload
                    values += self._count(field, payload)
            elif field in {3, 6}:
                raise self._refused("holds tensors of text, or tensors in pieces")
        if type_ not in TYPES:
            raise self._refused(f"holds a tensor of the type {type_}")
        if min(sizes, default=0) < 0 or len(sizes) > 8:
            raise self._refused(f"holds a tensor of the sizes {sizes!r:.80}")
        count = prod(sizes)
        if (len(raw) != count * TYPES[type_]) if held else (values != count):
            raise self._refused(f"holds a tensor of {count!r:.40} values, its data are of {len(raw) or values}")
        return name, Weight(tuple(sizes), self._numbers(type_, count, raw, loose, typed))

    def _numbers(
        self, type_: int, count: int, raw: bytes, loose: list[int], typed: memoryview
    ) -> tuple[float, ...] | None:
        if count > _FEW or type_ not in {_INT32, _INT64, _FLOAT}:
            return None
        letter = {_INT32: "i", _INT64: "q", _FLOAT: "f"}[type_]
        if len(raw):
            return struct.unpack(f"<{count}{letter}", raw)
        if type_ == _FLOAT:
            return struct.unpack(f"<{count}f", typed) if len(typed) == 4 * count else None
        return tuple(loose or self._packed(typed))

    def _count(self, field: int, payload: memoryview) -> int:
        """Values of a packed field."""
        if field in {4, 10}:
            return len(payload) // (4 if field == 4 else 8)
        return int(np.count_nonzero(np.frombuffer(payload, np.uint8) < 0x80))

    def _packed(self, view: memoryview) -> list[int]:
        numbers, at = [], 0
        while at < len(view):
            number, at = self._wire.varint(view, at)
            numbers.append(signed(number))
            if len(numbers) > 1 << 16:
                raise self._refused("holds a list of more numbers than any operator takes")
        return numbers

    def _value(self, view: memoryview) -> tuple[str, tuple[int, ...]]:
        """ValueInfoProto: its name and sizes; -1 for one that is not fixed."""
        name, sizes = "", []
        for field, _, _, payload in self._wire.fields(view):
            if field == 1:
                name = self._text(payload)
            elif field == 2:
                for sides in self._inside(payload, 1, 2):
                    for side in self._inside(sides, 1):
                        found = [
                            number for part, kind, number, _ in self._wire.fields(side) if (part, kind) == (1, VARINT)
                        ]
                        sizes.append(signed(found[-1]) if found else -1)
        return name, tuple(sizes)

    def _inside(self, view: memoryview, *path: int) -> list[memoryview]:
        """Payloads at the end of a path of field numbers."""
        found = [view]
        for step in path:
            found = [
                payload
                for one in found
                for field, kind, _, payload in self._wire.fields(one)
                if (field, kind) == (step, BYTES)
            ]
        return found

    def _text(self, payload: memoryview) -> str:
        """Any name. All are looked at: an engine that refuses a graph repeats them to whoever reads its message."""
        if len(payload) > 1000:
            raise self._refused("holds a name of more than 1000 characters")
        try:
            text = bytes(payload).decode()
        except UnicodeDecodeError:
            text = "\0"
        if not text.isprintable():
            raise self._refused("holds a name that cannot be printed")
        return text

    def _refused(self, why: str) -> BundleError:
        return BundleError(f"member {self._name!r} {why}", mend=MEND)
