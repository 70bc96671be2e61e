# ruff: noqa: ARG002, PLR0912, PLR0915  (one program, told in order)
"""A right program: one graph built, loaded, captured, run and freed, with nothing but the three libraries.

Knows the order of calls. Does not know the product. test_rules.py breaks it line by line, so each line stands alone.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Maps = dict[str, npt.NDArray[Any]]


def live(
    trt: Any, cuda: Any, graphs: Any, onnx: bytes, frames: list[npt.NDArray[np.uint8]], mapped: bool
) -> list[Maps]:
    """What the graph makes of each frame.

    Args:
        trt, cuda, graphs: the modules tensorrt, pycuda.driver and cuda.bindings.driver; None: no CUDA graph.
        onnx: with one input, of the frames' shape.
        mapped: the GPU works on the host's memory in place; else it has its own, and copies are enqueued.
    """

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, msg: str) -> None:
            pass

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

        def phase_finish(self, phase_name: str) -> None:
            pass

    cuda.init()
    context = cuda.Device(0).retain_primary_context()
    context.push()

    logger = Log()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(onnx)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 64 << 20)
    config.progress_monitor = Monitor()
    plan = builder.build_serialized_network(network, config)
    config = parser = network = None
    builder = None

    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(bytes(plan))
    execution = engine.create_execution_context()

    stream = cuda.Stream()
    handle = stream.handle
    before, after = cuda.Event(), cuda.Event()
    hosts, devices, inputs, outputs = {}, {}, [], []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape, kind = tuple(engine.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name))
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).append(name)
        if mapped:
            hosts[name] = cuda.pagelocked_empty(shape, kind, mem_flags=cuda.host_alloc_flags.DEVICEMAP)
            address = int(hosts[name].base.get_device_pointer())
        else:
            hosts[name] = cuda.pagelocked_empty(shape, kind)
            devices[name] = cuda.mem_alloc(hosts[name].nbytes)
            address = int(devices[name])
        assert execution.set_tensor_address(name, address)

    ready, where = None, None
    if graphs is not None:
        assert execution.execute_async_v3(stream_handle=handle)
        stream.synchronize()
        where = graphs.CUstream(handle)
        mode = graphs.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        assert graphs.cuStreamBeginCapture(where, mode) == (graphs.CUresult.CUDA_SUCCESS,)
        assert execution.execute_async_v3(stream_handle=handle)
        _, graph = graphs.cuStreamEndCapture(where)
        _, ready = graphs.cuGraphInstantiate(graph, 0)
        graphs.cuGraphDestroy(graph)

    results = []
    for frame in frames:
        hosts[inputs[0]][...] = frame
        if not mapped:
            cuda.memcpy_htod_async(devices[inputs[0]], hosts[inputs[0]], stream)
        before.record(stream)
        if ready is not None:
            graphs.cuGraphLaunch(ready, where)
        else:
            execution.execute_async_v3(stream_handle=handle)
        after.record(stream)
        if not mapped:
            for name in outputs:
                cuda.memcpy_dtoh_async(hosts[name], devices[name], stream)
        stream.synchronize()
        assert after.time_since(before) >= 0
        results.append({name: hosts[name].copy() for name in outputs})

    if ready is not None:
        graphs.cuGraphExecDestroy(ready)
    execution = None
    engine = None
    runtime = None
    for host in hosts.values():
        host.base.free()
    for device in devices.values():
        device.free()
    stream, before, after = None, None, None
    cuda.Context.pop()
    context.detach()
    return results
