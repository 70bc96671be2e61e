"""One operator of a graph with the sizes of what it is given, and what it is told besides, by kind.

Knows how inputs, small constants and attributes are asked for. Does not know what any operator gives (onnxshapes.py).
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from diffad_runtime.bundle.onnxgraph import Attribute, Node, Weight

Shape = tuple[int, ...]
Constants = Mapping[str, Weight]
_Kind = TypeVar("_Kind")


class ShapeError(ValueError):
    """An operator that cannot be worked out: another number of inputs, sizes that do not fit, no constant."""


class Call:
    """A node with the sizes of what it is given.

    Args:
        node: of the graph.
        shapes: of its inputs; () stands for one that is left out too.
        constants: weights by name.
    """

    def __init__(self, node: Node, shapes: Sequence[Shape], constants: Constants) -> None:
        self.node, self.shapes, self._constants = node, shapes, constants

    def shape(self, index: int) -> Shape:
        """Of an input that must be there."""
        if index >= len(self.shapes) or not self.node.inputs[index]:
            raise ShapeError(f"input {index} is missing")
        return self.shapes[index]

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def constants(self, index: int) -> tuple[float, ...] | None:
        """Numbers of an input that is a small weight; None where it is none."""
        self.shape(index)
        weight = self._constants.get(self.node.inputs[index])
        return None if weight is None else weight.numbers

    def constant(self, index: int) -> tuple[float, ...]:
        """Numbers of an input that must be a small weight."""
        numbers = self.constants(index)
        if numbers is None:
            raise ShapeError(f"input {index} is not a constant of a few numbers")
        return numbers

    def integers(self, index: int) -> tuple[int, ...]:
        """As `constant`, of a weight of integers."""
        numbers = self.constant(index)
        whole = tuple(number for number in numbers if isinstance(number, int))
        if len(whole) != len(numbers):
            raise ShapeError(f"input {index} is not of integers")
        return whole

    def number(self, name: str, default: int) -> int:
        """An attribute that is one integer."""
        return _of(int, self.node.attributes.get(name, default), name)

    def numbers(self, name: str, default: Shape) -> Shape:
        """An attribute that is a list of integers."""
        return _of(tuple, self.node.attributes.get(name, default), name)

    def word(self, name: str, default: str) -> str:
        """An attribute that is text."""
        return _of(str, self.node.attributes.get(name, default), name)


def broadcast(*shapes: Shape) -> Shape:
    """Sizes that several come to together, aligned at the end; of two, one is 1 or they are equal."""
    rank = max((len(shape) for shape in shapes), default=0)
    sides: list[int] = []
    for axis in range(rank):
        found = {shape[axis - rank + len(shape)] for shape in shapes if axis - rank + len(shape) >= 0} - {1}
        if len(found) > 1:
            raise ShapeError(f"sizes {', '.join(map(str, shapes)):.80} do not go together")
        sides.append(found.pop() if found else 1)
    return tuple(sides)


def _of(kind: type[_Kind], value: Attribute, name: str) -> _Kind:
    if not isinstance(value, kind):
        raise ShapeError(f"its attribute {name!r} is {value!r:.40}")
    return value
