"""How large the values become that a graph computes: the output sizes of each operator that a graph of ours may use.

Knows ONNX's rules of sizes, opsets 13 to 24, where all sizes are fixed. Does not know values beyond small constants,
nor limits (onnxlimits.py). An operator that is not listed here is not run.
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, prod
from typing import Final

from diffad_runtime.bundle.onnxcall import Call, Shape, ShapeError, broadcast
from diffad_runtime.bundle.onnxgraph import TYPES, Weight

_Rule = Callable[[Call], Sequence[Shape]]


def output_shapes(call: Call) -> Sequence[Shape]:
    """Sizes of a node's outputs; those that it does not give are left out.

    Raises:
        ShapeError: it cannot be worked out.
    """
    made = RULES[call.node.operator](call)
    for shape in made:
        if len(shape) > 8 or min(shape, default=1) < 1:
            raise ShapeError(f"it would give the sizes {shape!r:.80}")
    return made


def _same(call: Call) -> list[Shape]:
    # Statistics and masks that some give besides are no larger.
    return [call.shape(0)] * len(call.node.outputs)


def _broadcast(call: Call) -> list[Shape]:
    return [broadcast(*(call.shape(index) for index in range(len(call.node.inputs))))]


def _window(call: Call, kernel: Shape, shape: Shape) -> Shape:
    """Spatial sizes after a window went over them."""
    dims = len(shape) - 2
    strides, dilations = call.numbers("strides", (1,) * dims), call.numbers("dilations", (1,) * dims)
    pads = call.numbers("pads", (0,) * 2 * dims)
    automatic = call.word("auto_pad", "NOTSET")
    if dims < 1 or not len(kernel) == len(strides) == len(dilations) == dims or len(pads) != 2 * dims:
        raise ShapeError("its window has other dimensions than its input")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise ShapeError("a window, stride, dilation or pad is out of range")
    if any(max(pads[axis], pads[axis + dims]) >= (kernel[axis] - 1) * dilations[axis] + 1 for axis in range(dims)):
        raise ShapeError("its pads are as wide as its window")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        return tuple(ceil(shape[axis + 2] / strides[axis]) for axis in range(dims))
    if automatic not in {"NOTSET", "VALID"}:
        raise ShapeError(f"auto_pad is {automatic!r:.40}")
    rounded = ceil if call.number("ceil_mode", 0) else floor
    return tuple(
        rounded(
            (shape[axis + 2] + pads[axis] + pads[axis + dims] - (kernel[axis] - 1) * dilations[axis] - 1)
            / strides[axis]
        )
        + 1
        for axis in range(dims)
    )


def _conv(call: Call) -> list[Shape]:
    x, weights, group = call.shape(0), call.shape(1), call.number("group", 1)
    if len(weights) != len(x) or group < 1 or x[1] != weights[1] * group or weights[0] % group:
        raise ShapeError(f"weights {weights!r:.80} do not fit the input {x!r:.80} in {group} groups")
    if call.numbers("kernel_shape", weights[2:]) != weights[2:]:
        raise ShapeError("its kernel_shape is not that of its weights")
    return [(x[0], weights[0], *_window(call, weights[2:], x))]


def _conv_transpose(call: Call) -> list[Shape]:
    x, weights, group = call.shape(0), call.shape(1), call.number("group", 1)
    dims = len(x) - 2
    strides, pads = call.numbers("strides", (1,) * dims), call.numbers("pads", (0,) * 2 * dims)
    more = call.numbers("output_padding", (0,) * dims)
    plain = call.word("auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in call.node.attributes
    dilated = set(call.numbers("dilations", (1,) * dims)) != {1}
    if dims < 1 or len(weights) != len(x) or group < 1 or x[1] != weights[0] or not plain or dilated:
        raise ShapeError("it is of another form than (N, C, sides), with plain pads and no dilation")
    if len(strides) != dims or len(pads) != 2 * dims or len(more) != dims or min(strides) < 1 or min(*pads, *more) < 0:
        raise ShapeError("a stride or pad is out of range")
    sides = [
        (x[axis + 2] - 1) * strides[axis] + weights[axis + 2] + more[axis] - pads[axis] - pads[axis + dims]
        for axis in range(dims)
    ]
    return [(x[0], weights[1] * group, *sides)]


def _pool(call: Call) -> list[Shape]:
    x = call.shape(0)
    return [(*x[:2], *_window(call, call.numbers("kernel_shape", ()), x))] * len(call.node.outputs)


def _global_pool(call: Call) -> list[Shape]:
    x = call.shape(0)
    return [(*x[:2], *(1 for _ in x[2:]))]


def _matmul(call: Call) -> list[Shape]:
    a, b = call.shape(0), call.shape(1)
    if not a or not b or a[-1] != b[-2 if len(b) > 1 else 0]:
        raise ShapeError(f"{a!r:.80} and {b!r:.80} cannot be multiplied")
    rows = a[-2:-1] if len(a) > 1 else ()
    columns = b[-1:] if len(b) > 1 else ()
    return [(*broadcast(a[:-2], b[:-2]), *rows, *columns)]


def _gemm(call: Call) -> list[Shape]:
    a, b = call.shape(0), call.shape(1)
    if len(a) != 2 or len(b) != 2:
        raise ShapeError("it multiplies matrices only")
    a, b = (a[::-1] if call.number("transA", 0) else a), (b[::-1] if call.number("transB", 0) else b)
    if a[1] != b[0]:
        raise ShapeError(f"{a!r:.80} and {b!r:.80} cannot be multiplied")
    return [(a[0], b[1])]


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} of {rank}")
    return axis % rank


def _axes(call: Call, index: int, rank: int) -> list[int] | None:
    """Of an attribute, or of an input since opset 13 or 18; None where none are given."""
    given = (
        call.integers(index)
        if call.has(index)
        else call.numbers("axes", ())
        if "axes" in call.node.attributes
        else None
    )
    return None if given is None else [_axis(axis, rank) for axis in given]


def _reduce(call: Call) -> list[Shape]:
    x = call.shape(0)
    axes = _axes(call, 1, len(x)) or ([] if call.number("noop_with_empty_axes", 0) else list(range(len(x))))
    kept = call.number("keepdims", 1)
    return [tuple(1 if axis in axes else side for axis, side in enumerate(x) if kept or axis not in axes)]


def _argument(call: Call) -> list[Shape]:
    x, kept = call.shape(0), call.number("keepdims", 1)
    gone = _axis(call.number("axis", 0), len(x))
    return [tuple(1 if axis == gone else side for axis, side in enumerate(x) if kept or axis != gone)]


def _squeeze(call: Call) -> list[Shape]:
    x = call.shape(0)
    axes = _axes(call, 1, len(x))
    if axes is None:
        axes = [axis for axis, side in enumerate(x) if side == 1]
    if any(x[axis] != 1 for axis in axes):
        raise ShapeError("it squeezes a side that is not 1")
    return [tuple(side for axis, side in enumerate(x) if axis not in axes)]


def _unsqueeze(call: Call) -> list[Shape]:
    x = call.shape(0)
    rank = len(x) + len(call.integers(1) if call.has(1) else call.numbers("axes", ()))
    axes = _axes(call, 1, rank) or []
    if rank > 8 or len(set(axes)) != len(axes):
        raise ShapeError("its axes are too many, or come twice")
    sides = iter(x)
    return [tuple(1 if axis in axes else next(sides) for axis in range(rank))]


def _reshape(call: Call) -> list[Shape]:
    x, wanted = call.shape(0), call.integers(1)
    if (
        (call.number("allowzero", 0) and 0 in wanted)
        or len(wanted) > 8
        or sum(side == -1 for side in wanted) > 1
        or min(wanted, default=0) < -1
    ):
        raise ShapeError(f"it reshapes to {wanted!r:.80}")
    if any(side == 0 and axis >= len(x) for axis, side in enumerate(wanted)):
        raise ShapeError(f"it reshapes {x!r:.80} to {wanted!r:.80}")
    sides = [x[axis] if side == 0 else side for axis, side in enumerate(wanted)]
    if -1 in sides:
        known = prod(side for side in sides if side != -1)
        sides[sides.index(-1)] = prod(x) // known if known else 0
    if prod(sides) != prod(x):
        raise ShapeError(f"it reshapes {x!r:.80} to {wanted!r:.80}")
    return [tuple(sides)]


def _flatten(call: Call) -> list[Shape]:
    x, axis = call.shape(0), call.number("axis", 1)
    axis = axis + len(x) if axis < 0 else axis
    if not 0 <= axis <= len(x):
        raise ShapeError(f"axis {axis} of {len(x)}")
    return [(prod(x[:axis]), prod(x[axis:]))]


def _transpose(call: Call) -> list[Shape]:
    x = call.shape(0)
    order = call.numbers("perm", tuple(reversed(range(len(x)))))
    if sorted(order) != list(range(len(x))):
        raise ShapeError(f"perm {order!r:.80} of {len(x)} sides")
    return [tuple(x[axis] for axis in order)]


def _concat(call: Call) -> list[Shape]:
    shapes = [call.shape(index) for index in range(len(call.node.inputs))]
    if not shapes:
        raise ShapeError("it has no inputs")
    axis = _axis(call.number("axis", 0), len(shapes[0]))
    if (
        len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) != 1
        or len({len(shape) for shape in shapes}) != 1
    ):
        raise ShapeError("its inputs differ in another side than the one they are put together along")
    return [(*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])]


def _split(call: Call) -> list[Shape]:
    x, count = call.shape(0), len(call.node.outputs)
    axis = _axis(call.number("axis", 0), len(x))
    if call.has(1):
        parts = list(call.integers(1))
    else:
        if call.number("num_outputs", count) != count:
            raise ShapeError(f"it splits into {call.number('num_outputs', count)}, and gives {count}")
        size = ceil(x[axis] / count)
        parts = [size] * (count - 1) + [x[axis] - size * (count - 1)]
    if len(parts) != count or sum(parts) != x[axis] or min(parts) < 1:
        raise ShapeError(f"it splits {x[axis]} into {parts!r:.80}")
    return [(*x[:axis], part, *x[axis + 1 :]) for part in parts]


def _slice(call: Call) -> list[Shape]:
    x = list(call.shape(0))
    starts, ends = call.integers(1), call.integers(2)
    axes = call.integers(3) if call.has(3) else tuple(range(len(starts)))
    steps = call.integers(4) if call.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ShapeError("its starts, ends, axes and steps do not go together")
    for start, end, given, step in zip(starts, ends, axes, steps, strict=True):
        axis = _axis(given, len(x))
        x[axis] = _steps(x[axis], start, end, step)
    return [tuple(x)]


def _steps(side: int, start: int, end: int, step: int) -> int:
    """How many values a slice takes. Not Python's rules: backwards, a start before the first value is the first."""
    start, end = (side + at if at < 0 else at for at in (start, end))
    low, high = (0, side) if step > 0 else (-1, side - 1)
    start, end = max(0, min(start, high)), max(low, min(end, high))
    return max(0, -((start - end) // step))


def _gather(call: Call) -> list[Shape]:
    x, indices = call.shape(0), call.constants(1)
    axis = _axis(call.number("axis", 0), len(x))
    if any(not -x[axis] <= index < x[axis] for index in indices or ()):
        raise ShapeError(f"it gathers beyond the {x[axis]} that there are")
    return [(*x[:axis], *call.shape(1), *x[axis + 1 :])]


def _expand(call: Call) -> list[Shape]:
    return [broadcast(call.shape(0), call.integers(1))]


def _tile(call: Call) -> list[Shape]:
    x, times = call.shape(0), call.integers(1)
    if len(times) != len(x):
        raise ShapeError("its repeats are not one a side")
    return [tuple(side * time for side, time in zip(x, times, strict=True))]


def _pad(call: Call) -> list[Shape]:
    x, pads = call.shape(0), call.integers(1)
    if call.has(3) or len(pads) != 2 * len(x) or min(pads, default=0) < 0:
        raise ShapeError(f"its pads {pads!r:.80} are not two a side")
    mode = call.word("mode", "constant")
    if mode not in {"constant", "edge", "reflect"} or (mode == "reflect" and max(pads, default=0) >= min(x, default=1)):
        raise ShapeError(f"its mode {mode!r:.40} does not fit the pads {pads!r:.80}")
    return [tuple(side + pads[axis] + pads[axis + len(x)] for axis, side in enumerate(x))]


def _resize(call: Call) -> list[Shape]:
    x = call.shape(0)
    if call.has(1) and call.shapes[1] not in {(0,), (2 * len(x),)}:
        raise ShapeError("its region of interest does not fit")
    if (
        call.word("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
        or "axes" in call.node.attributes
    ):
        raise ShapeError("it crops, or names axes")
    if call.has(3):
        made: Sequence[int] = call.integers(3)
    else:
        scales = call.constant(2)
        if len(scales) != len(x) or not all(0 < scale <= 1024 for scale in scales):
            raise ShapeError(f"its scales are {scales!r:.80}")
        made = [floor(side * scale) for side, scale in zip(x, scales, strict=True)]
    if len(made) != len(x):
        raise ShapeError("its sizes are not one a side")
    return [tuple(made)]


def _depth_to_space(call: Call) -> list[Shape]:
    x, block = call.shape(0), call.number("blocksize", 0)
    if len(x) != 4 or block < 1 or x[1] % block**2:
        raise ShapeError("its block does not fit")
    return [(x[0], x[1] // block**2, x[2] * block, x[3] * block)]


def _space_to_depth(call: Call) -> list[Shape]:
    x, block = call.shape(0), call.number("blocksize", 0)
    if len(x) != 4 or block < 1 or x[2] % block or x[3] % block:
        raise ShapeError("its block does not fit")
    return [(x[0], x[1] * block**2, x[2] // block, x[3] // block)]


def _cast(call: Call) -> list[Shape]:
    if call.number("to", 0) not in TYPES:
        raise ShapeError(f"it casts to the type {call.number('to', 0)}")
    return _same(call)


def _constant(call: Call) -> list[Shape]:
    value = call.node.attributes.get("value")
    if not isinstance(value, Weight):
        raise ShapeError("it is of another kind than a tensor")
    return [value.shape]


_ONE_TO_ONE: Final = (
    "Abs Ceil Clip Cos CumSum DequantizeLinear Dropout Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity "
    "BatchNormalization GroupNormalization InstanceNormalization LayerNormalization LeakyRelu Log LogSoftmax Mish Neg "
    "Not QuantizeLinear Reciprocal Relu Round Selu Sigmoid Sign Sin Softmax Softplus Softsign Sqrt Tanh"
)
_MANY_TO_ONE: Final = (
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mul Or Pow PRelu Sub Sum Where"
)
_REDUCTIONS: Final = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"

RULES: Final[Mapping[str, _Rule]] = {
    **dict.fromkeys(_ONE_TO_ONE.split(), _same),
    **dict.fromkeys(_MANY_TO_ONE.split(), _broadcast),
    **{f"Reduce{name}": _reduce for name in _REDUCTIONS.split()},
    "Cast": _cast,
    "ArgMax": _argument,
    "ArgMin": _argument,
    "AveragePool": _pool,
    "Concat": _concat,
    "Constant": _constant,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Operator -> the sizes of its outputs."""
