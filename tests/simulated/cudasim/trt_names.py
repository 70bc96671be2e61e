"""TensorRT's enumerations.

Knows names and numbers that TensorRT 10.3 to 11.4 all have; whatever else a program uses is an AttributeError. Does not
know what they are for.
"""

from enum import Enum
from typing import Any

import numpy as np


class _Enum(Enum):
    """As pybind11's: an int where it is asked for one, and no int itself."""

    def __int__(self) -> int:
        return int(self.value)

    def __index__(self) -> int:
        return int(self.value)


class Severity(_Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class BuilderFlag(_Enum):
    REFIT = 4
    DISABLE_TIMING_CACHE = 5
    TF32 = 6


class MemoryPoolType(_Enum):
    WORKSPACE = 0
    TACTIC_DRAM = 4


class ProfilingVerbosity(_Enum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class NetworkDefinitionCreationFlag(_Enum):
    STRONGLY_TYPED = 1


class TensorIOMode(_Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(_Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


class ErrorCode(_Enum):
    SUCCESS = 0
    INTERNAL_ERROR = 1
    MEM_ALLOC_FAILED = 2
    MODEL_DESERIALIZE_FAILED = 3
    INVALID_VALUE = 4
    INVALID_GRAPH = 5
    INVALID_NODE = 6
    UNSUPPORTED_GRAPH = 7
    UNSUPPORTED_NODE = 8


_NUMPY: dict[DataType, type] = {
    DataType.FLOAT: np.float32,
    DataType.HALF: np.float16,
    DataType.INT8: np.int8,
    DataType.INT32: np.int32,
    DataType.BOOL: np.bool_,
    DataType.UINT8: np.uint8,
    DataType.INT64: np.int64,
}


def nptype(trt_type: DataType) -> Any:
    """numpy's type of a DataType."""
    return _NUMPY[trt_type]


def of_numpy(kind: str) -> DataType:
    """The DataType of numpy's name for a type."""
    return next(one for one, numpy in _NUMPY.items() if np.dtype(numpy).name == kind)
