"""What TensorRT 10.3's ONNX parser documents, as far as it could ever concern our graphs. Data only.

Source: docs/operators.md and docs/Changelog.md of github.com/onnx/onnx-tensorrt. An operator, a type or a mode is
listed here where the table for TensorRT 8.5 (opset 17) and the table for 10.15 (opset 24) both have it, and the
changelog between names no removal; a few arrived in between, before 10.3, and say so. INT64 is TensorRT's since 9.0.
INT8 is nobody's type here: explicit quantisation comes from Q/DQ alone.
"""

from typing import Final

FLOATS: Final = frozenset({"FLOAT", "FLOAT16"})
NUMBERS: Final = FLOATS | {"INT32", "INT64"}
ANY: Final = NUMBERS | {"BOOL"}
BOOL: Final = frozenset({"BOOL"})

# Operator -> types of its first input.
OPERATORS: Final[dict[str, frozenset[str]]] = {
    # one value at a time
    "Abs": NUMBERS,
    "Ceil": FLOATS,
    "Clip": FLOATS,
    "Cos": FLOATS,
    "Elu": FLOATS,
    "Erf": FLOATS,
    "Exp": FLOATS,
    "Floor": FLOATS,
    "HardSigmoid": FLOATS,
    "HardSwish": FLOATS,
    "Identity": ANY,
    "LeakyRelu": FLOATS,
    "Log": FLOATS,
    "Neg": NUMBERS,
    "Not": BOOL,
    "PRelu": FLOATS,
    "Reciprocal": FLOATS,
    "Relu": FLOATS,
    "Round": FLOATS,
    "Sigmoid": FLOATS,
    "Sign": NUMBERS,
    "Sin": FLOATS,
    "Softplus": FLOATS,
    "Sqrt": FLOATS,
    "Tanh": FLOATS,
    # two or more
    "Add": NUMBERS,
    "And": BOOL,
    "Div": NUMBERS,
    "Equal": NUMBERS,
    "Greater": NUMBERS,
    "GreaterOrEqual": NUMBERS,
    "Less": NUMBERS,
    "LessOrEqual": NUMBERS,
    "Max": NUMBERS,
    "Mean": NUMBERS,
    "Min": NUMBERS,
    "Mul": NUMBERS,
    "Or": BOOL,
    "Pow": FLOATS,
    "Sub": NUMBERS,
    "Sum": NUMBERS,
    "Where": ANY,
    # weights
    "Conv": FLOATS,
    "ConvTranspose": FLOATS,
    "Gemm": FLOATS,
    "MatMul": FLOATS,
    # neighbours
    "AveragePool": FLOATS,
    "BatchNormalization": FLOATS,
    "GlobalAveragePool": FLOATS,
    "GlobalMaxPool": FLOATS,
    "InstanceNormalization": FLOATS,
    "LayerNormalization": FLOATS,  # since 8.6
    "MaxPool": FLOATS,
    "ReduceL1": FLOATS,
    "ReduceL2": FLOATS,
    "ReduceLogSumExp": FLOATS,
    "ReduceMax": FLOATS,
    "ReduceMean": FLOATS,
    "ReduceMin": FLOATS,
    "ReduceSum": FLOATS,
    "ReduceSumSquare": FLOATS,
    "Resize": FLOATS,
    "Softmax": FLOATS,
    # places
    "Cast": ANY | {"UINT8"},
    "Concat": ANY,
    "Constant": ANY,
    "ConstantOfShape": FLOATS | {"INT64"},
    "DepthToSpace": NUMBERS,
    "Expand": ANY,
    "Flatten": ANY,
    "Gather": ANY,
    "GatherElements": ANY,
    "Pad": NUMBERS,
    "Reshape": ANY,
    "Shape": ANY,
    "Slice": ANY,
    "SpaceToDepth": NUMBERS,
    "Split": ANY,
    "Squeeze": ANY,
    "Tile": ANY,
    "Transpose": ANY,
    "Unsqueeze": ANY,
    # precision; qdq.py has the rules
    "DequantizeLinear": frozenset({"INT8", "UINT8", "INT32"}),
    "QuantizeLinear": FLOATS,
}

# Types of tensors anywhere. UINT8 and INT8 have rules of their own. DOUBLE is documented as cast down: a silent loss.
TYPES: Final = ANY | {"UINT8", "INT8"}

RESIZE: Final[dict[str, frozenset[str]]] = {
    "mode": frozenset({"nearest", "linear"}),
    "coordinate_transformation_mode": frozenset(
        {"half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners"}
    ),
    "nearest_mode": frozenset({"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}),
    "keep_aspect_ratio_policy": frozenset({"stretch"}),
    "antialias": frozenset({"0"}),
}
RESIZE_DEFAULTS: Final = {
    "mode": "nearest",
    "coordinate_transformation_mode": "half_pixel",
    "nearest_mode": "round_prefer_floor",
    "keep_aspect_ratio_policy": "stretch",
    "antialias": "0",
}

# Operator -> indices of inputs that must be constants.
CONSTANT_INPUTS: Final[dict[str, tuple[int, ...]]] = {
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    **{name: (1,) for name in OPERATORS if name.startswith("Reduce")},
}
POOLING: Final = frozenset({"AveragePool", "MaxPool"})
