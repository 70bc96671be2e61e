"""Graphs that are valid or nearly so, and ask an engine for memory, time or files beyond measure.

Knows which operators make much of little. Does not know what any engine does with them.
"""

from collections.abc import Callable
from functools import cache

import numpy as np

from bundlefuzz import wire
from bundlefuzz.wire import VARINT, Field


@cache
def heavy(name: str) -> bytes:
    """One of HEAVY, made once."""
    return HEAVY[name]()


def _alone(nodes: list[list[Field]], weights: dict[str, np.ndarray], *more: Field, outputs: str = "y") -> bytes:
    """A graph that takes the place of an extractor: its inputs and outputs have the names that are asked for."""
    tensors = [wire.tensor(name, values) for name, values in weights.items()]
    inputs = [wire.value_info("image", "uint8", [1, 32, 32, 3])]
    made = [wire.value_info("x", "float32", [1, 3, 32, 32]), wire.value_info("f", "float32", [1, 3, 8, 8])]
    first = [
        wire.node("Cast", ["image"], ["levels"], to=1),
        wire.node("Transpose", ["levels"], ["x"], perm=[0, 3, 1, 2]),
        wire.node("AveragePool", ["x"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
    ]
    last = [
        wire.node("ReduceMax", [outputs], ["least"], keepdims=0),
        wire.node("Cast", ["least"], ["least32"], to=1),
        wire.node("Add", ["pooled", "least32"], ["f"]),
    ]
    return wire.write(wire.model(wire.graph([*first, *nodes, *last], inputs, made, tensors), *more))


def _ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def _doubling(operator: str) -> bytes:
    """Each node makes twice of what it is given."""
    nodes = [wire.node(operator, [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(36)]
    return _alone(nodes, {"d0": np.ones(16, np.float32)}, outputs="d36")


def _loop(trips: int, grows: bool) -> bytes:
    """Trips without end; what it carries may grow by half a kilobyte each."""
    step = wire.node("Concat", ["c", "c16"], ["c2"], axis=0) if grows else wire.node("Add", ["c", "c"], ["c2"])
    value = wire.value_info
    body = wire.graph(
        [wire.node("Identity", ["go"], ["on"]), step],
        [value("i", "int64", []), value("go", "bool", []), value("c", "float32", None)],
        [value("on", "bool", []), value("c2", "float32", None)],
        [wire.tensor("c16", np.ones(128, np.float32))],
    )
    return _alone(
        [wire.node("Loop", ["n", "", "c0"], ["y"], body=body)], {"n": _ints(trips), "c0": np.ones(128, np.float32)}
    )


def _nested(depth: int, ways: tuple[str, ...]) -> bytes:
    inner = wire.graph([wire.node("Identity", ["one"], ["r"])], [], [[wire.text(1, "r")]], [])
    for _ in range(depth):
        branches = dict.fromkeys(ways, inner)
        inner = wire.graph([wire.node("If", ["yes"], ["r"], **branches)], [], [[wire.text(1, "r")]], [])
    cast = wire.node("Cast", ["one"], ["yes"], to=9)
    whole = wire.node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner)
    return _alone([cast, whole], {"one": np.array(1, np.float32)})


def _calls_itself() -> bytes:
    function = wire.inside(25, "Function", [
        wire.text(1, "F"), wire.text(4, "a"), wire.text(5, "b"),
        wire.inside(7, "Node", wire.node("F", ["a"], ["b"], domain="own")),
        wire.inside(9, "Opset", [wire.text(1, "own"), Field(2, VARINT, 1)]), wire.text(10, "own"),
    ])  # fmt: skip
    own = wire.inside(8, "Opset", [wire.text(1, "own"), Field(2, VARINT, 1)])
    return _alone([wire.node("F", ["one"], ["y"], domain="own")], {"one": np.ones(1, np.float32)}, function, own)


def _outer(operator: str, side: int) -> bytes:
    """Two small weights whose broadcast or product is their sizes' product."""
    column, row = np.ones((side, 1), np.float32), np.ones((1, side), np.float32)
    return _alone([wire.node(operator, ["a", "b"], ["y"])], {"a": column, "b": row})


def _flatbuffer() -> bytes:
    """Protobuf that also begins like ORT's own format: an offset, then its mark, in a field that nobody looks at."""
    payload = b"\0\0ORTM" + bytes(26)
    return b"\x0a" + bytes([len(payload)]) + payload + wire.write(wire.model(wire.graph([], [], [], [])))


def _context() -> bytes:
    """A node that has an execution provider read a file."""
    where = {"ep_cache_context": "../../etc/passwd", "embed_mode": 0, "main_context": 1, "source": "x"}
    node = wire.node("EPContext", ["x"], ["y"], domain="com.microsoft", **where)
    return _alone([node], {}, wire.inside(8, "Opset", [wire.text(1, "com.microsoft"), Field(2, VARINT, 1)]))


def _chain(length: int) -> bytes:
    nodes = [wire.node("Relu", [f"r{i}"], [f"r{i + 1}"]) for i in range(length)]
    return _alone([wire.node("Identity", ["x"], ["r0"]), *nodes], {}, outputs=f"r{length}")


def _big_dims() -> bytes:
    model = wire.read(_alone([wire.node("Relu", ["a"], ["y"])], {"a": np.ones(2, np.float32)}))
    for field in next(field.value for field in model if field.number == 7):  # type: ignore[union-attr]
        if field.message == "Tensor":
            field.value[0].value = 1 << 40
    return wire.write(model)


def _one(operator: str, weights: dict[str, np.ndarray], **attributes: object) -> bytes:
    return _alone([wire.node(operator, list(weights), ["y"], **attributes)], weights)


_F = np.ones((1, 1, 8, 8), np.float32)
HEAVY: dict[str, Callable[[], bytes]] = {
    "doubling by Concat": lambda: _doubling("Concat"),
    "ConstantOfShape": lambda: _one("ConstantOfShape", {"a": _ints(1 << 34)}),
    "ConstantOfShape beyond any memory": lambda: _one("ConstantOfShape", {"a": _ints(1 << 50)}),
    "Expand": lambda: _one("Expand", {"a": np.ones(1, np.float32), "b": _ints(1 << 17, 1 << 17)}),
    "Tile": lambda: _one("Tile", {"a": np.ones(8, np.float32), "b": _ints(1 << 31)}),
    "Range": lambda: _one("Range", {"a": _ints(0), "b": _ints(1 << 40), "c": _ints(1)}),
    "Pad": lambda: _one("Pad", {"a": _F, "b": _ints(0, 0, 1 << 16, 1 << 16, 0, 0, 0, 0)}),
    "Resize": lambda: _alone(
        [wire.node("Resize", ["a", "", "s"], ["y"], mode="nearest")],
        {"a": _F, "s": np.array([1, 1, 1e4, 1e4], np.float32)},
    ),
    "Loop without end": lambda: _loop((1 << 63) - 1, False),
    "Loop that grows": lambda: _loop(1 << 30, True),
    "outer sum": lambda: _outer("Add", 1 << 17),
    "outer product": lambda: _outer("MatMul", 1 << 17),
    "a function that calls itself": _calls_itself,
    "If inside If, deep": lambda: _nested(18, ("then_branch",)),
    "If inside If, two ways": lambda: _nested(9, ("then_branch", "else_branch")),
    "ORT format": _flatbuffer,
    "EPContext": _context,
    "20,000 nodes": lambda: _chain(20_000),
    "dims beyond the data": _big_dims,
    "OneHot": lambda: _one("OneHot", {"a": _ints(*range(64)), "b": _ints(1 << 30), "c": np.array([0, 1], np.float32)}),
    "EyeLike": lambda: _alone(
        [wire.node("ConstantOfShape", ["a"], ["z"]), wire.node("EyeLike", ["z"], ["y"])], {"a": _ints(1 << 17, 1 << 17)}
    ),
    "RandomNormal": lambda: _alone([wire.node("RandomNormal", [], ["y"], shape=[1 << 17, 1 << 17])], {}),
    "Conv of group 0": lambda: _one("Conv", {"a": _F, "b": _F}, group=0),
    "Conv of stride 0": lambda: _one("Conv", {"a": _F, "b": _F}, strides=[0, 0]),
    "Conv of dilation 0": lambda: _one("Conv", {"a": _F, "b": _F}, dilations=[0, 0]),
    "Conv with pads beyond memory": lambda: _one("Conv", {"a": _F, "b": _F}, pads=[1 << 17] * 4),
    "ConvTranspose": lambda: _one("ConvTranspose", {"a": _F, "b": _F}, strides=[1 << 15, 1 << 15]),
    "pool of stride 0": lambda: _one("MaxPool", {"a": _F}, kernel_shape=[2, 2], strides=[0, 0]),
    "pool of a huge window": lambda: _one(
        "AveragePool", {"a": _F}, kernel_shape=[1 << 30, 1 << 30], pads=[1 << 30] * 4
    ),
    "DepthToSpace of 0": lambda: _one("DepthToSpace", {"a": _F}, blocksize=0),
    "Split by 0": lambda: _one("Split", {"a": _F}, num_outputs=0),
    "Gather far outside": lambda: _one("Gather", {"a": _F, "b": _ints(1 << 40)}),
    "Reshape to less than nothing": lambda: _one("Reshape", {"a": _F, "b": _ints(-1, 0, 1 << 62, 4)}),
}
"""Graphs that are valid or nearly so, and ask for memory, time or files beyond measure."""
