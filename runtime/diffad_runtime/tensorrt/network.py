"""One deserialised engine with its execution context.

Knows TensorRT's runtime objects of one graph and the order they are freed in. Does not know what the graph computes,
where its tensors come from, nor how it was built. Everything here happens with the GPU's context current.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffad_runtime.engines.signature import Nodes
from diffad_runtime.errors import EngineError
from diffad_runtime.tensorrt.log import Heard, listening, logger_for, not_started
from diffad_runtime.tensorrt.messages import about_plan


class PlanRefusedError(Exception):
    """TensorRT does not take the plan back. Why is in the message; whoever has the graph builds it anew."""


class Network:
    """Ready to be enqueued once every tensor has an address.

    Args:
        trt: the module tensorrt.
        plan: that this device's TensorRT built. Native code: never one from elsewhere.
        name: for messages, as in "reconstructor.fp16".

    Raises:
        PlanRefusedError: of another TensorRT or GPU, damaged, or no memory to read it.
        EngineError: TensorRT does not start, or has no memory to run it in.
    """

    def __init__(self, trt: Any, plan: bytes, name: str) -> None:
        self.name = name
        self._trt = trt
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        with listening(trt) as heard:
            try:
                self._runtime = trt.Runtime(logger_for(trt))
            except TypeError as error:  # what the bindings make of a runtime that TensorRT does not give
                raise not_started(heard, error) from None
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                self.close()
                raise PlanRefusedError(about_plan([*heard.lines]))
            self._context = self._engine.create_execution_context()
        if self._context is None:
            self.close()
            # The plan is good; there is no room for it now.
            raise EngineError(
                f"{name}: the engine cannot be loaded: {about_plan([*heard.lines])}",
                mend="Stop other programs that use the GPU or the memory, or run a smaller --variant",
            )
        self.inputs, self.outputs = self._nodes()

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Say where tensors lie on the GPU. They stay there while the network is used.

        Raises:
            EngineError: TensorRT refuses an address.
        """
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise EngineError(f"{self.name}: TensorRT refuses the address of {name!r}", mend=_REPORT)

    def enqueue(self, stream: int, heard: Heard) -> None:
        """Enqueue one run on the stream of this handle.

        Args:
            heard: what TensorRT says meanwhile, for the message.

        Raises:
            EngineError: it was not enqueued.
        """
        if not self._context.execute_async_v3(stream_handle=stream):
            raise EngineError(f"{self.name}: TensorRT cannot run it: {heard.last() or 'it says nothing'}", mend=_REPORT)

    def device_bytes(self) -> int:
        """Scratch memory on the GPU that the execution context holds."""
        return int(self._engine.device_memory_size_v2)

    def close(self) -> None:
        """Free the context, then the engine, then the runtime. Nothing of it may be enqueued. Twice is harmless."""
        self._context = None
        self._engine = None
        self._runtime = None

    def _nodes(self) -> tuple[Nodes, Nodes]:
        trt, engine = self._trt, self._engine
        sides: tuple[Nodes, Nodes] = ({}, {})
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            kind = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
            side = sides[engine.get_tensor_mode(name) != trt.TensorIOMode.INPUT]
            side[name] = (kind, [int(length) for length in engine.get_tensor_shape(name)])
        return sides


_REPORT = "Build the engines again with 'diffad-edge build --rebuild'; if it comes again, run another --variant"
