"""How the reference client is broken, and what the machine says of it.

Each mutation replaces pieces of reference_client.py's text, which must stand there exactly once. WRONG means that
nothing is misused by the letter, and the results are not the right ones.
"""

Changes = list[tuple[str, str]]

WRONG = "wrong data"
"""Results that are not the right ones."""

BOTH, MAPPED, STAGED = (True, False), (True,), (False,)

# Pieces of the client.
PUSH = "    context.push()\n"
STREAM = "    stream = cuda.Stream()\n"
PLAIN_RUN = (
    "        assert execution.execute_async_v3(stream_handle=handle)\n        stream.synchronize()\n        where ="
)
CAPTURED = "        assert execution.execute_async_v3(stream_handle=handle)\n        _, graph"
BEGIN = "        assert graphs.cuStreamBeginCapture(where, mode) == (graphs.CUresult.CUDA_SUCCESS,)\n"
END = "        _, graph = graphs.cuStreamEndCapture(where)\n"
INSTANTIATE = "        _, ready = graphs.cuGraphInstantiate(graph, 0)\n"
GRAPH_DESTROY = "        graphs.cuGraphDestroy(graph)\n"
LAUNCH = "            graphs.cuGraphLaunch(ready, where)\n"
UPLOAD = "            cuda.memcpy_htod_async(devices[inputs[0]], hosts[inputs[0]], stream)\n"
DOWNLOAD = "                cuda.memcpy_dtoh_async(hosts[name], devices[name], stream)\n"
WAIT = "        stream.synchronize()\n        assert after"
EXEC_DESTROY = "        graphs.cuGraphExecDestroy(ready)\n"
FREE_HOSTS = "        host.base.free()\n"
FREE_DEVICES = "        device.free()\n"
FREE_STREAM = "    stream, before, after = None, None, None\n"
POP = "    cuda.Context.pop()\n"
DETACH = "    context.detach()\n"

MUTATIONS: list[tuple[str, Changes, str, tuple[bool, ...]]] = [
    # Contexts.
    ("no init", [("    cuda.init()\n", "")], "before cuda.init", BOTH),
    ("never pushed", [(PUSH, "")], "Builder: no context is current", BOTH),
    ("pushed twice", [(PUSH, 2 * PUSH)], "is pushed, a stale entry", BOTH),
    ("not popped", [(POP, ""), (DETACH, "")], "has 1 contexts pushed", BOTH),
    ("popped twice", [(POP, 2 * POP)], "nothing is pushed", BOTH),
    ("detached while pushed", [(POP, ""), (DETACH, DETACH + POP)], "a stale entry", BOTH),
    ("never given back", [(DETACH, "")], "primary context 1 is retained", BOTH),
    ("given back twice", [(DETACH, 2 * DETACH)], "was given back before", BOTH),
    ("pushed after it was given back", [(DETACH, DETACH + PUSH)], "was given back", BOTH),
    ("a context of its own", [("cuda.Device(0).retain_primary_context()", "cuda.Device(0).make_context()")],
     "TensorRT works in the primary", BOTH),
    ("autoinit", [("    cuda.init()\n", "    import pycuda.autoinit\n    cuda.init()\n")], "pycuda.autoinit", BOTH),
    ("given back with memory in it", [(FREE_STREAM, "")], "still has stream", BOTH),
    # Builder.
    ("another logger", [("runtime = trt.Runtime(logger)", "runtime = trt.Runtime(Log())")], "another logger", BOTH),
    ("another logger for the parser", [("OnnxParser(network, logger)", "OnnxParser(network, Log())")],
     "another logger", BOTH),
    ("weakly typed", [("create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))",
      "create_network()")], "not strongly typed", BOTH),
    ("parsed twice", [("    assert parser.parse(onnx)\n", 2 * "    assert parser.parse(onnx)\n")],
     "was filled before", BOTH),
    ("built after a refusal", [("    assert parser.parse(onnx)\n", "    parser.parse(b'rubbish')\n")],
     "the parser refused", BOTH),
    ("parser gone before the build", [("    config.progress", "    parser = None\n    config.progress")],
     "and with it the weights", BOTH),
    ("builder gone before network", [("    config = parser = network = None\n    builder = None\n",
      "    builder = None\n    config = parser = network = None\n")], "builder 2 is destroyed before", BOTH),
    ("builder kept", [("    builder = None\n", "    live.kept = builder\n")], "still has builder 2", BOTH),
    ("no workspace", [("64 << 20", "0")], "set_memory_pool_limit: 0 bytes", BOTH),
    ("a monitor without its base", [("        def __init__(self) -> None:\n            super().__init__()\n\n"
      "        def phase_start", "        def __init__(self) -> None:\n            pass\n\n        def phase_start")],
     "did not call that of IProgressMonitor", BOTH),
    ("a logger without its base", [("        def __init__(self) -> None:\n            super().__init__()\n\n"
      "        def log", "        def __init__(self) -> None:\n            pass\n\n        def log")],
     "did not call that of ILogger", BOTH),
    ("a monitor that raises", [("            return True", "            raise ValueError")],
     "raised ValueError into TensorRT", BOTH),
    ("a logger that raises", [("str) -> None:\n            pass\n\n    class",
      "str) -> None:\n            raise OSError\n\n    class")],
     "logger raised OSError into TensorRT", BOTH),
    # Order of TensorRT's objects.
    ("runtime before engine", [("    execution = None\n    engine = None\n    runtime = None\n",
      "    execution = None\n    runtime = None\n    engine = None\n")], "runtime 6 is destroyed before engine", BOTH),
    ("engine before its execution context", [("    execution = None\n    engine = None\n",
      "    engine = None\n    execution = None\n")], "engine 7 is destroyed before execution context", BOTH),
    ("runtime gone at once", [("    execution = engine.create", "    runtime = None\n    execution = engine.create")],
     "runtime 6 is destroyed before engine", BOTH),
    ("destroyed after the pop", [("    execution = None\n", ""), (POP, POP + "    execution = None\n")],
     "is destroyed", BOTH),
    ("engine destroyed after the pop", [("    engine = None\n    runtime = None\n", ""),
      (POP, POP + "    engine = None\n    runtime = None\n")], "engine 7 is destroyed on thread", BOTH),
    # Addresses.
    ("no addresses", [("        assert execution.set_tensor_address(name, address)\n", "")], "no address is set", BOTH),
    ("one address short", [("        assert execution.set_tensor",
      "        if index: assert execution.set_tensor")], "no address is set for image", BOTH),
    ("the host's address", [("int(hosts[name].base.get_device_pointer())", "hosts[name].ctypes.data")],
     "mapped: ask for get_device_pointer", MAPPED),
    ("pinned, not mapped", [(", mem_flags=cuda.host_alloc_flags.DEVICEMAP", "")],
     "was not allocated with DEVICEMAP", MAPPED),
    ("the host's address of pinned memory", [("int(devices[name])", "hosts[name].ctypes.data")], "not mapped", STAGED),
    ("pageable memory", [("int(devices[name])", "np.empty(99999).ctypes.data")], "is no memory of the GPU", STAGED),
    ("too small", [("mem_alloc(hosts[name].nbytes)", "mem_alloc(hosts[name].nbytes - 1)")],
     "bytes at byte 0 of device memory", STAGED),
    ("one past the start", [("int(devices[name])", "int(devices[name]) + 256")], "at byte 256 of", STAGED),
    ("not aligned", [("int(devices[name])", "int(devices[name]) + 4"),
      ("mem_alloc(hosts[name].nbytes)", "mem_alloc(hosts[name].nbytes + 4)")], "is not aligned", STAGED),
    ("all at one address", [("int(devices[name])", "int(devices['image' if 'f' in name else name])"),
      ("mem_alloc(hosts[name].nbytes)", "mem_alloc(1 << 20)")], "lies where 'image' lies", STAGED),
    # Frees.
    ("hosts not freed, but kept", [(FREE_HOSTS, "        live.kept = hosts\n")], "still has", BOTH),
    ("hosts freed twice", [(FREE_HOSTS, 2 * FREE_HOSTS)], "was freed before", BOTH),
    ("device memory freed twice", [(FREE_DEVICES, 2 * FREE_DEVICES)], "was freed before", STAGED),
    ("device memory not freed, but kept", [(FREE_DEVICES, "        live.kept = devices\n")],
     "still has device memory", STAGED),
    ("freed before the launch", [(LAUNCH, "            hosts[outputs[0]].base.free()\n" + LAUNCH)], "is gone", MAPPED),
    ("freed while enqueued", [(WAIT, "        hosts[outputs[0]].base.free()\n" + WAIT)],
     "is used by work that is enqueued", BOTH),
    ("device memory freed while enqueued", [(WAIT, "        devices[outputs[0]].free()\n" + WAIT)],
     "is used by work that is enqueued", STAGED),
    ("freed after the context", [(FREE_DEVICES, "        pass\n"), (DETACH, DETACH + "    device.free()\n")],
     "still has device memory", STAGED),
    # Copies.
    ("no upload", [(UPLOAD, "            pass\n")], WRONG, STAGED),
    ("no download", [(DOWNLOAD, "                pass\n")], WRONG, STAGED),
    ("upload of pageable memory", [(UPLOAD, UPLOAD.replace("hosts[inputs[0]], stream", "frame, stream"))],
     "is pageable", STAGED),
    ("download to pageable memory", [(DOWNLOAD, DOWNLOAD.replace("(hosts[name]", "(np.empty_like(hosts[name])"))],
     "is pageable", STAGED),
    ("upload of too much", [(UPLOAD, UPLOAD.replace("devices[inputs[0]]", "devices[outputs[1]]"))],
     "12288 bytes at byte 0 of device memory", STAGED),
    ("download of too much", [(DOWNLOAD, DOWNLOAD.replace("(hosts[name]", "(hosts['x']"))],
     "bytes at byte 0 of device memory", STAGED),
    ("upload on the null stream", [(UPLOAD, UPLOAD.replace(", stream)", ")"))], "on the null stream", STAGED),
    ("download on the null stream", [(DOWNLOAD, DOWNLOAD.replace(", stream)", ")"))], "on the null stream", STAGED),
    ("the frame is overwritten before it is read", [(WAIT, "        hosts[inputs[0]][...] = 0\n" + WAIT)], WRONG, BOTH),
    # Streams and events.
    ("no wait", [(WAIT, "        assert after")], "has not happened yet", BOTH),
    ("waits for all at the end", [(WAIT, "        assert after"),
      ("        assert after.time_since(before) >= 0\n", ""),
      ("    if ready is not None:\n        graphs.cuGraphExec",
       "    stream.synchronize()\n    if ready is not None:\n        graphs.cuGraphExec")], WRONG, BOTH),
    ("waits for another stream", [(WAIT, WAIT.replace("stream.sync", "cuda.Stream().sync"))],
     "has not happened yet", BOTH),
    ("waits too early", [("        after.record(stream)\n",
      "        stream.synchronize()\n        after.record(stream)\n"), (WAIT, "        assert after")],
     "has not happened yet", BOTH),
    ("an event that was never recorded", [("        before.record(stream)\n", "")], "was never recorded", BOTH),
    ("an event on the null stream", [("before.record(stream)", "before.record()")], "on the null stream", BOTH),
    ("run on the null stream", [("    handle = stream.handle\n", "    handle = 0\n")], "on the null stream", BOTH),
    ("a handle that is none", [("    handle = stream.handle\n", "    handle = 12345\n")],
     "no stream has the handle", BOTH),
    ("a stream that is gone", [("    handle = stream.handle\n", "    handle = cuda.Stream().handle\n")],
     "was destroyed", BOTH),
    ("stream destroyed while work is enqueued", [(WAIT, "        stream = cuda.Stream()\n" + WAIT)],
     "has work enqueued", BOTH),
    ("execution context destroyed while enqueued", [(WAIT, "        execution = None\n" + WAIT)],
     "is used by work that is enqueued", BOTH),
    ("event destroyed while enqueued", [(WAIT, "        before = cuda.Event()\n" + WAIT)],
     "is used by work that is enqueued", BOTH),
    ("event kept", [(FREE_STREAM, "    live.kept = before\n    stream, before, after = None, None, None\n")],
     "still has event", BOTH),
    # Captures.
    ("no plain run first", [(PLAIN_RUN, "        where =")], "captured before a plain run", BOTH),
    ("not captured at all", [(CAPTURED, "        _, graph")], WRONG, BOTH),
    ("waited for while captured", [(END, "        stream.synchronize()\n" + END)], "is being captured", BOTH),
    ("memory taken while captured", [(END, "        cuda.mem_alloc(4)\n" + END)], "while a stream is captured", BOTH),
    ("memory pinned while captured", [(END, "        cuda.pagelocked_empty(4, np.uint8)\n" + END)],
     "while a stream is captured", BOTH),
    ("memory freed while captured", [(END, "        hosts['x'].base.free()\n" + END)],
     "while a stream is captured", BOTH),
    ("all waited for while captured", [(END, "        cuda.Context.synchronize()\n" + END)],
     "captured", BOTH),
    ("never begun", [(BEGIN, "")], "is not being captured", BOTH),
    ("begun twice", [(BEGIN, 2 * BEGIN)], "is being captured", BOTH),
    ("never ended", [(END + INSTANTIATE + GRAPH_DESTROY, "        pass\n")], "is being captured", BOTH),
    ("captured on the null stream", [("graphs.CUstream(handle)", "graphs.CUstream(0)")], "on the null stream", BOTH),
    ("a number for a stream", [("graphs.CUstream(handle)", "handle")], "expected a CUstream", BOTH),
    ("the graph is not destroyed", [(GRAPH_DESTROY, "")], "still has graph", BOTH),
    ("the graph is destroyed twice", [(GRAPH_DESTROY, 2 * GRAPH_DESTROY)], "was destroyed", BOTH),
    ("instantiated after it was destroyed", [(INSTANTIATE + GRAPH_DESTROY, GRAPH_DESTROY + INSTANTIATE)],
     "was destroyed", BOTH),
    ("the executable graph is not destroyed", [(EXEC_DESTROY, "        pass\n")], "still has executable graph", BOTH),
    ("destroyed while it is enqueued", [(WAIT, "        graphs.cuGraphExecDestroy(ready)\n" + WAIT)],
     "is used by work that is enqueued", BOTH),
    ("launched after it was destroyed", [(EXEC_DESTROY, EXEC_DESTROY + "        graphs.cuGraphLaunch(ready, where)\n")],
     "was destroyed", BOTH),
    ("launched after its execution context", [("    results = []", "    execution = None\n    results = []")],
     "execution context 8 is gone", BOTH),
    ("launched with no context", [(LAUNCH, "            cuda.Context.pop()\n" + LAUNCH)],
     "no context is current", BOTH),
    ("addresses changed after the capture", [("    results = []\n",
      "    results = []\n    hosts['x'] = cuda.pagelocked_empty(hosts['x'].shape, np.float32, "
      "mem_flags=cuda.host_alloc_flags.DEVICEMAP)\n"
      "    execution.set_tensor_address('x', hosts['x'].base.get_device_pointer())\n")], "is gone", MAPPED),
]  # fmt: skip
