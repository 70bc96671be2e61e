"""The module tensorrt of one machine.

Knows which names it has. Does not know what they do.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from cudasim import trt_building, trt_names, trt_running, trt_talking

if TYPE_CHECKING:
    from cudasim.machine import Machine

_OF_A_MACHINE = (
    trt_talking.ILogger, trt_talking.IProgressMonitor, trt_building.Builder, trt_building.OnnxParser,
    trt_running.Runtime,
)  # fmt: skip
_ALL_THE_SAME = (
    trt_names.BuilderFlag, trt_names.MemoryPoolType, trt_names.ProfilingVerbosity,
    trt_names.NetworkDefinitionCreationFlag, trt_names.TensorIOMode, trt_names.DataType, trt_names.ErrorCode,
    trt_names.nptype, trt_building.IHostMemory, trt_building.INetworkDefinition, trt_building.IBuilderConfig,
    trt_building.ITimingCache, trt_building.ParserError, trt_running.ICudaEngine, trt_running.IExecutionContext,
)  # fmt: skip


def make_tensorrt(machine: "Machine") -> ModuleType:
    """The module; what programs make or derive from knows its machine."""
    module: Any = ModuleType("tensorrt")
    module.__version__ = machine.tensorrt_version
    module._simulated = True
    for kind in _OF_A_MACHINE:
        setattr(module, kind.__name__, type(kind.__name__, (kind,), {"_machine": machine}))
    for thing in _ALL_THE_SAME:
        setattr(module, thing.__name__, thing)
    return module
