"""The TensorRT engine on a simulated machine: its numbers, what it calls for a frame, lifetimes, and every fault.

Expected maps are those of the ONNX Runtime engine on the same graphs; the simulator computes with ONNX Runtime too, so
they are equal bit for bit where every byte was at its place in time.
"""

import gc
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from cudasim import Machine
from cudasim.trt_names import Severity
from cudasim.trt_talking import say
from onnx import TensorProto, helper

from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.engines.base import RawMaps
from diffad_runtime.engines.ondevice import OnDevice, Watcher
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.errors import EngineError
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Frame, Verdict
from diffad_runtime.tensorrt.opening import open_tensorrt

S, G = 64, 16
SIMULATED = Path(__file__).parents[2] / "simulated"
MAPS = [4 * S * S, 4 * G * G, 4 * G * G]  # bytes

ON_THE_GPU = ["Event.record", "cuGraphLaunch", "Event.record", "cuGraphLaunch", "Event.record"]
"""What a frame is on the stream, between the copies."""

Open = Callable[..., TensorRtEngine]


@pytest.fixture(scope="module")
def bundle(golden_bundle: Path) -> Bundle:
    return open_bundle(golden_bundle)


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (S, S, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> list[RawMaps]:
    """Of pictures 0, 1 and 2."""
    with OnnxRuntimeEngine(*bundle.graphs("fp32"), input_size=S, variant="fp32", threads=1) as engine:
        return [engine.infer(picture(seed)) for seed in range(3)]


def check_maps(got: RawMaps, right: RawMaps) -> None:
    np.testing.assert_array_equal(got.anomaly, right.anomaly)
    np.testing.assert_array_equal(got.feature, right.feature)
    assert (got.pixel is None) == (right.pixel is None)
    if got.pixel is not None and right.pixel is not None:
        np.testing.assert_array_equal(got.pixel, right.pixel)


@pytest.fixture(params=["integrated", "discrete"])
def bare(request: pytest.FixtureRequest) -> Machine:
    """Nothing of it is installed."""
    return Machine(integrated=request.param == "integrated")


@pytest.fixture
def machine(bare: Machine) -> Iterator[Machine]:
    """Installed, and clean in the end."""
    with bare.installed():
        yield bare
        bare.assert_clean()


@pytest.fixture
def told() -> list[str]:
    """What the watcher was told, notes and warnings."""
    return []


@pytest.fixture
def opened(bundle: Bundle, tmp_path: Path, told: list[str]) -> Open:
    def make(variant: str = "fp16", of: Bundle = bundle) -> TensorRtEngine:
        watcher = Watcher(note=told.append, warn=told.append)
        return open_tensorrt(of, variant, OnDevice(cache=tmp_path / "cache", watcher=watcher)).engine

    return make


def since(machine: Machine, start: int) -> list[str]:
    return machine.names()[start:]


# Numbers.


@pytest.mark.usefixtures("machine")
def test_maps_are_those_of_onnxruntime_frame_after_frame(
    opened: Open, expected: list[RawMaps], told: list[str]
) -> None:
    with opened() as engine:
        assert (engine.backend, engine.variant, engine.input_size) == ("tensorrt", "fp16", S)
        assert engine.recorded
        for _ in range(2):
            for seed, right in enumerate(expected):
                got = engine.infer(picture(seed))
                check_maps(got, right)
                assert got.anomaly.dtype == np.float32
                assert got.extract_ms >= 0
                assert got.reconstruct_ms >= 0
    assert told == []
    assert not engine.recorded


def test_maps_are_the_same_after_reopening(machine: Machine, opened: Open, expected: list[RawMaps]) -> None:
    for _ in range(3):
        with opened() as engine:
            check_maps(engine.infer(picture(1)), expected[1])
    assert machine.count("Builder.build_serialized_network") == 2


def test_without_cuda_bindings_maps_are_the_same_and_the_operator_is_told(
    bare: Machine, opened: Open, expected: list[RawMaps], told: list[str]
) -> None:
    with bare.installed(bindings=False):
        with opened() as engine:
            assert not engine.recorded
            for seed, right in enumerate(expected):
                check_maps(engine.infer(picture(seed)), right)
        assert told == [
            "kernels are launched one by one, not as a CUDA graph: the package cuda-bindings is not installed"
        ]
        bare.assert_clean()


def test_a_gpu_that_cannot_map_host_memory_gets_copies(opened: Open, expected: list[RawMaps]) -> None:
    machine = Machine(integrated=True, maps_host_memory=False)
    with machine.installed():
        with opened() as engine:
            check_maps(engine.infer(picture(0)), expected[0])
        assert machine.count("memcpy_htod_async") == 2  # the first run, and the frame
        machine.assert_clean()


@pytest.mark.usefixtures("machine")
def test_results_are_the_callers_own(opened: Open, expected: list[RawMaps]) -> None:
    with opened() as engine:
        first, second = engine.infer(picture(0)), engine.infer(picture(1))
        check_maps(first, expected[0])
        for got in (first, second):
            for array in (got.anomaly, got.pixel, got.feature):
                assert array is not None
                array[...] = 7
        check_maps(engine.infer(picture(2)), expected[2])
        kept = engine.infer(picture(0))
    check_maps(kept, expected[0])  # also when the engine is gone


@pytest.mark.usefixtures("machine")
def test_the_picture_is_read_before_infer_returns_and_never_written(opened: Open, expected: list[RawMaps]) -> None:
    image = picture(0)
    image.flags.writeable = False
    with opened() as engine:
        check_maps(engine.infer(image), expected[0])
        check_maps(engine.infer(np.asfortranarray(image)), expected[0])


def _without_pixel_score(bundle: Bundle, folder: Path) -> Bundle:
    """x and f as before; anomaly_map = mean over channels of |x|, feature_score = the same of |f|."""
    nodes = [
        helper.make_node("Abs", ["x"], ["ax"]),
        helper.make_node("ReduceMean", ["ax"], ["anomaly_map"], axes=[1], keepdims=0),
        helper.make_node("Abs", ["f"], ["af"]),
        helper.make_node("ReduceMean", ["af"], ["feature_score"], axes=[1], keepdims=0),
    ]
    shapes: dict[str, list[int]] = {
        "x": [1, 3, S, S], "f": [1, 3, G, G], "anomaly_map": [1, S, S], "feature_score": [1, G, G],
    }  # fmt: skip
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    graph = helper.make_graph(nodes, "r", [values["x"], values["f"]], [values["anomaly_map"], values["feature_score"]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    members = {"e.onnx": bundle.graphs("fp32")[0], "r.onnx": model.SerializeToString()}
    variant = bundle.variant("fp32").model_copy(update={"extractor": "e.onnx", "reconstructor": "r.onnx"})
    manifest = bundle.manifest.model_copy(
        update={"variants": {"fp32": variant}, "default_variant": "fp32", "members": describe_members(members)}
    )
    return open_bundle(write_bundle(folder / "grey.diffad", manifest, members))


@pytest.mark.usefixtures("machine")
def test_a_reconstructor_that_gives_no_pixel_score(opened: Open, bundle: Bundle, tmp_path: Path) -> None:
    grey = _without_pixel_score(bundle, tmp_path)
    with OnnxRuntimeEngine(*grey.graphs("fp32"), input_size=S, variant="fp32", threads=1) as engine:
        right = engine.infer(picture(0))
    with opened("fp32", grey) as on_gpu:
        got = on_gpu.infer(picture(0))
    assert got.pixel is None
    check_maps(got, right)


@pytest.mark.parametrize("wrong", [picture(0)[:32], picture(0).astype(np.float32), picture(0)[..., :1]])
def test_a_wrong_picture_never_reaches_the_gpu(machine: Machine, opened: Open, wrong: npt.NDArray[Any]) -> None:
    with opened() as engine:
        start = len(machine.calls)
        with pytest.raises(EngineError, match="expects a uint8 image"):
            engine.infer(wrong)
        assert since(machine, start) == []


def test_nan_from_the_gpu_is_an_error(machine: Machine, opened: Open, expected: list[RawMaps]) -> None:
    with opened() as engine:
        machine.faults.wrong_numbers(nan=True)
        with pytest.raises(EngineError, match="the tensorrt engine, variant fp16, gave a map with NaN"):
            engine.infer(picture(0))
        machine.faults.clear()
        check_maps(engine.infer(picture(0)), expected[0])


# What is called.


def test_what_a_frame_calls(machine: Machine, opened: Open) -> None:
    with opened() as engine:
        for seed in range(2):
            start = len(machine.calls)
            engine.infer(picture(seed))
            copies = ([], []) if machine.integrated else (["memcpy_htod_async"], 3 * ["memcpy_dtoh_async"])
            assert since(machine, start) == [
                "Context.push", *copies[0], *ON_THE_GPU, *copies[1],
                "Stream.synchronize", "Event.time_since", "Event.time_since", "Context.pop",
            ]  # fmt: skip
            moved = [call.arguments["bytes"] for call in machine.calls[start:] if call.name.startswith("memcpy")]
            assert moved == ([] if machine.integrated else [3 * S * S, *MAPS])
            calls = machine.calls[start:]
            assert {call.thread for call in calls} == {threading.current_thread().name}
            assert [call.depth for call in calls] == [0] + [1] * (len(calls) - 1)


def test_what_a_frame_calls_without_cuda_bindings(bare: Machine, opened: Open) -> None:
    with bare.installed(bindings=False):
        with opened() as engine:
            start = len(bare.calls)
            engine.infer(picture(0))
            on_gpu = [name.replace("cuGraphLaunch", "IExecutionContext.execute_async_v3") for name in ON_THE_GPU]
            copies = ([], []) if bare.integrated else (["memcpy_htod_async"], 3 * ["memcpy_dtoh_async"])
            assert since(bare, start) == [
                "Context.push", *copies[0], *on_gpu, *copies[1],
                "Stream.synchronize", "Event.time_since", "Event.time_since", "Context.pop",
            ]  # fmt: skip
        handles = {call.arguments["stream"] for call in bare.calls if call.name.endswith("execute_async_v3")}
        assert len(handles) == 1
        bare.assert_clean()


def test_one_stream_and_memory_of_the_right_kinds(machine: Machine, opened: Open) -> None:
    with opened() as engine:
        for seed in range(3):
            engine.infer(picture(seed))
    assert machine.count("Stream") == 1
    assert machine.count("Event") == 3
    pinned = [call.arguments for call in machine.calls if call.name == "pagelocked_empty"]
    assert [one["bytes"] for one in pinned] == [3 * S * S, *MAPS]
    assert {one["mapped"] for one in pinned} == {machine.integrated}
    between = [4 * 3 * S * S, 4 * 3 * G * G]  # x and f, of the GPU alone
    on_gpu = [call.arguments["bytes"] for call in machine.calls if call.name == "mem_alloc"]
    assert on_gpu == (between if machine.integrated else [3 * S * S, *between, *MAPS])
    # A plain run of each, each once more while it was captured, then never again.
    assert machine.count("IExecutionContext.execute_async_v3") == 4


def test_what_the_extractor_gives_lies_where_the_reconstructor_reads(machine: Machine, opened: Open) -> None:
    opened().close()
    places: dict[str, list[int]] = {}
    for call in machine.calls:
        if call.name == "IExecutionContext.set_tensor_address":
            places.setdefault(call.arguments["name"], []).append(call.arguments["address"])
    assert {name: len(addresses) for name, addresses in places.items()} == {
        "image": 1, "x": 2, "f": 2, "anomaly_map": 1, "pixel_score": 1, "feature_score": 1,
    }  # fmt: skip
    assert places["x"][0] == places["x"][1]
    assert places["f"][0] == places["f"][1]


def test_every_thread_pushes_and_pops_for_itself(machine: Machine, opened: Open, expected: list[RawMaps]) -> None:
    got: dict[int, RawMaps] = {}
    with opened() as engine:
        start = len(machine.calls)
        machine.faults.wrong_numbers(lambda _: bool(time.sleep(0.001)))  # others run meanwhile

        def work(seed: int) -> None:
            for _ in range(5):
                got[seed] = engine.infer(picture(seed))

        threads = [threading.Thread(target=work, args=(seed,), name=f"caller {seed}") for seed in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        calls = machine.calls[start:]
    for seed, right in enumerate(expected):
        check_maps(got[seed], right)
    assert {call.thread for call in calls} == {"caller 0", "caller 1", "caller 2"}
    for call in calls:
        assert call.depth == (0 if call.name == "Context.push" else 1)
    # One frame at a time: the calls of a frame are not mixed with those of another.
    size = len(calls) // 15
    assert all(len({call.thread for call in calls[at : at + size]}) == 1 for at in range(0, len(calls), size))


# Lifetimes.


def test_a_closed_engine_says_so_and_calls_nothing(machine: Machine, opened: Open) -> None:
    engine = opened()
    engine.infer(picture(0))
    engine.close()
    machine.assert_clean()
    start = len(machine.calls)
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed") as raised:
        engine.infer(picture(0))
    assert raised.value.mend
    assert since(machine, start) == []


def test_an_engine_may_be_closed_on_another_thread(machine: Machine, opened: Open) -> None:
    engine = opened()
    engine.infer(picture(0))
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join()
    machine.assert_clean()


def test_an_engine_may_live_on_another_thread_alone(machine: Machine, opened: Open, expected: list[RawMaps]) -> None:
    got: list[RawMaps] = []

    def live() -> None:
        with opened() as engine:
            got.append(engine.infer(picture(0)))

    thread = threading.Thread(target=live)
    thread.start()
    thread.join()
    check_maps(got[0], expected[0])
    machine.assert_clean()


def test_close_waits_for_the_frame_that_runs(machine: Machine, opened: Open, expected: list[RawMaps]) -> None:
    inside, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    def in_the_graph(_: bytes) -> bool:
        inside.set()
        assert go_on.wait(10)
        return False

    got: list[RawMaps] = []
    engine = opened()
    machine.faults.wrong_numbers(in_the_graph)
    worker = threading.Thread(target=lambda: got.append(engine.infer(picture(2))))
    closer = threading.Thread(target=lambda: (engine.close(), closed.set()))
    worker.start()
    assert inside.wait(10)
    closer.start()
    assert not closed.wait(0.05)
    go_on.set()
    worker.join()
    closer.join()
    check_maps(got[0], expected[2])
    machine.assert_clean()


def test_an_engine_that_nobody_closes_is_freed_with_its_last_reference(machine: Machine, opened: Open) -> None:
    engine = opened()
    engine.infer(picture(0))
    del engine
    machine.assert_clean()


def test_an_engine_that_failed_is_freed_with_its_last_reference_too(machine: Machine, opened: Open) -> None:
    """The exception makes no cycle that only the collector could break, some time, on some thread."""
    gc.collect()
    gc.disable()
    try:
        engine = opened()
        machine.faults.cuda_error_on("cuGraphLaunch")
        fails(partial(engine.infer, picture(0)), "cuGraphLaunch gave")
        del engine
        machine.assert_clean()
    finally:
        gc.enable()


def test_an_engine_in_a_cycle_is_freed_by_the_collector_on_whichever_thread(machine: Machine, opened: Open) -> None:
    holder: list[Any] = [opened()]
    holder.append(holder)
    del holder
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join()
    machine.assert_clean()


def test_the_collector_does_not_free_an_engine_while_another_one_is_recorded(machine: Machine, opened: Open) -> None:
    """What it frees would be freed within the capture, on its thread, which CUDA does not allow."""
    thresholds, take = gc.get_threshold(), machine.faults.take

    def often(what: str) -> Any:
        if machine.driver.captures():
            gc.set_threshold(1)
        return take(what)

    gc.collect()
    gc.set_threshold(10**9)
    try:
        holder: list[Any] = [opened()]
        holder.append(holder)
        del holder
        machine.faults.take = often  # type: ignore[method-assign]
        with opened() as engine:
            assert engine.recorded
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert gc.isenabled()


def test_two_engines_at_once_do_not_mix(machine: Machine, opened: Open, expected: list[RawMaps]) -> None:
    first, second = opened("fp16"), opened("fp32")
    for seed, right in enumerate(expected):
        check_maps(first.infer(picture(seed)), right)
        check_maps(second.infer(picture((seed + 1) % 3)), expected[(seed + 1) % 3])
    first.close()
    check_maps(second.infer(picture(0)), expected[0])
    second.close()
    assert machine.count("Device.retain_primary_context") == 1


def test_opening_and_closing_leaves_nothing_that_grows(machine: Machine, opened: Open) -> None:
    for _ in range(20):
        with opened() as engine:
            engine.infer(picture(0))
        machine.assert_clean()
    assert machine.logger.listeners == []
    assert machine.count("Device.retain_primary_context") == 1
    assert machine.count("Builder") == 2
    assert machine.driver.free_bytes() == machine.free_memory


def test_an_inspector_over_it(machine: Machine, bundle: Bundle, tmp_path: Path) -> None:
    with Inspector.open(bundle.path, "tensorrt", device=OnDevice(cache=tmp_path)) as inspector:
        good = inspector.inspect(np.full((100, 120, 3), 128, np.uint8))
        frame = np.full((128, 128, 3), 128, np.uint8)
        frame[32:64, 64:96] = 255
        bad = inspector.inspect(frame)
        machine.faults.cuda_error_on("cuGraphLaunch")
        failed = inspector.judge(Frame(frame, 2, 0.0, bad.t_capture))
        again = inspector.inspect(frame)
    assert (good.verdict, bad.verdict, failed.verdict, again.verdict) == (
        Verdict.OK, Verdict.NG, Verdict.ERROR, Verdict.NG,
    )  # fmt: skip
    assert (good.backend, good.variant) == ("tensorrt", "int8-fp16-trt")
    assert "the GPU failed to launch variant" in failed.error
    assert good.latency_ms.keys() == {"resize", "extract", "reconstruct", "mask", "total"}


LEFT_OPEN = """
    import atexit, sys
    sys.path.insert(0, {simulated!r})
    from cudasim import Machine
    machine = Machine(integrated={integrated})
    installed = machine.installed()
    def last_of_all():
        installed.__exit__(None, None, None)
        machine.assert_clean(retained=False)
    atexit.register(last_of_all)
    {before}
    installed.__enter__()
    from pathlib import Path
    import numpy as np
    from diffad_runtime import open_bundle, open_engine
    from diffad_runtime.engines.ondevice import OnDevice
    def opened():
        engine = open_engine(open_bundle({bundle!r}), "tensorrt", device=OnDevice(cache=Path({cache!r})))
        engine.infer(np.zeros((64, 64, 3), np.uint8))
        return engine
    engines = [opened(), opened()]
    {after}
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        # Whoever makes one before puts weakref's own exit function before ours.
        ("import weakref; weakref.finalize(machine, str)", ""),
        ("", "import threading; other = threading.Thread(target=lambda: engines.append(opened())); other.start()"),
        ("", "engines.append(engines); del engines"),
    ],
    ids=["plainly", "finalisers before", "opened on another thread", "in a cycle"],
)
@pytest.mark.parametrize("integrated", [True, False])
def test_an_engine_left_open_is_freed_when_the_interpreter_ends(
    bundle: Bundle, tmp_path: Path, before: str, after: str, integrated: bool
) -> None:
    code = textwrap.dedent(LEFT_OPEN).format(
        simulated=str(SIMULATED), integrated=integrated, before=before, after=after, bundle=str(bundle.path),
        cache=str(tmp_path),
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done.stderr


# Faults.

OPENING = [
    ("Context.push", "LogicError"), ("Stream", "MemoryError"), ("Event", "LaunchError"),
    ("pagelocked_empty", "MemoryError"), ("PagelockedHostAllocation.get_device_pointer", "LogicError"),
    ("mem_alloc", "MemoryError"), ("mem_get_info", "LogicError"), ("memcpy_htod_async", "LogicError"),
    ("Stream.synchronize", "LaunchError"),
]  # fmt: skip
FRAME = [
    ("Context.push", "LogicError"), ("Event.record", "LogicError"),
    ("Event.time_since", "LogicError"), ("memcpy_htod_async", "LogicError"), ("memcpy_dtoh_async", "RuntimeError"),
    ("Stream.synchronize", "LaunchError"), ("Stream.synchronize", "MemoryError"), ("cuGraphLaunch", "LaunchError"),
    ("cuGraphLaunch", "MemoryError"),
]  # fmt: skip
CAPTURE = ["cuStreamBeginCapture", "cuGraphInstantiate"]


def calls_of(machine: Machine, name: str, work: Callable[[], Any]) -> int:
    """How often it is called when all goes well."""
    before = machine.count(name)
    work()
    return machine.count(name) - before


def fails(work: Callable[[], Any], match: str) -> str:
    """The text of its EngineError: one line that names the cause, and something to do. The exception is not kept."""
    try:
        work()
    except EngineError as error:
        text, what, mend = str(error), error.what, error.mend
    else:
        pytest.fail("no EngineError")
    assert re.search(match, text), text
    assert "\n" not in text
    assert len(what) > 20
    assert len(mend) > 20
    return text


@pytest.mark.parametrize(("name", "kind"), OPENING, ids=[name for name, _ in OPENING])
def test_a_failing_call_while_opening(
    machine: Machine, bundle: Bundle, tmp_path: Path, expected: list[RawMaps], name: str, kind: str
) -> None:
    def opened(cache: str) -> TensorRtEngine:
        return open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path / cache)).engine

    kept: list[TensorRtEngine] = []
    positions = calls_of(machine, name, lambda: kept.append(opened("well")))
    kept.pop().close()
    for position in range(positions):
        machine.faults.cuda_error_on(name, kind, "the text of it", after=position)
        fails(partial(opened, f"{position}"), "the text of it")
        machine.faults.clear()
        machine.assert_clean()
        with opened(f"{position}") as engine:
            check_maps(engine.infer(picture(0)), expected[0])
        machine.assert_clean()


@pytest.mark.parametrize(("name", "kind"), OPENING[1:], ids=[name for name, _ in OPENING[1:]])
@pytest.mark.parametrize("integrated", [True, False])
def test_a_gpu_that_is_lost_while_opening(
    bundle: Bundle, tmp_path: Path, name: str, kind: str, integrated: bool
) -> None:
    well = Machine(integrated=integrated)
    with well.installed(), open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path / "well")).engine:
        positions = well.count(name)
    for position in range(positions):
        machine = Machine(integrated=integrated)
        machine.faults.cuda_error_on(name, kind, "lost for good", sticky=True, after=position)
        with machine.installed():
            for _ in range(2):
                fails(lambda: open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path)), "lost for good")
                machine.assert_clean()


@pytest.mark.parametrize("name", CAPTURE)
def test_work_that_cannot_be_recorded_is_enqueued_plainly(
    machine: Machine, opened: Open, expected: list[RawMaps], told: list[str], name: str
) -> None:
    positions = calls_of(machine, name, lambda: opened().close())
    assert positions == 2
    for position in range(positions):
        machine.faults.cuda_error_on(name, "RuntimeError", after=position)
        with opened() as engine:
            assert not engine.recorded
            start = len(machine.calls)
            for seed, right in enumerate(expected):
                check_maps(engine.infer(picture(seed)), right)
            assert "cuGraphLaunch" not in since(machine, start)
        machine.assert_clean()
        reason = f"{name} gave CUDA_ERROR_UNKNOWN"
        assert told.pop() == f"kernels are launched one by one, not as a CUDA graph: {reason}"
        machine.faults.clear()


def test_a_graph_that_cannot_be_destroyed_is_no_reason_to_stop(
    machine: Machine, opened: Open, expected: list[RawMaps]
) -> None:
    for position in range(2):
        machine.faults.cuda_error_on("cuGraphDestroy", "RuntimeError", after=position)
        with opened() as engine:
            check_maps(engine.infer(picture(0)), expected[0])
        machine.assert_clean()


def test_a_capture_that_cuda_invalidates(
    machine: Machine, opened: Open, expected: list[RawMaps], told: list[str]
) -> None:
    machine.faults.capture_fails(1)
    with opened() as engine:
        assert not engine.recorded
        check_maps(engine.infer(picture(0)), expected[0])
    assert told[0].endswith("cuStreamEndCapture gave CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")


def test_a_machine_without_cuda_graphs(opened: Open, expected: list[RawMaps], told: list[str]) -> None:
    machine = Machine(graphs=False)
    with machine.installed():
        with opened() as engine:
            check_maps(engine.infer(picture(0)), expected[0])
        assert told[0].endswith("cuStreamBeginCapture gave CUDA_ERROR_NOT_SUPPORTED")
        machine.assert_clean()


@pytest.mark.parametrize("position", [0, 1])
def test_an_execution_that_tensorrt_refuses_while_recording(
    machine: Machine, bundle: Bundle, tmp_path: Path, expected: list[RawMaps], position: int
) -> None:
    told: list[str] = []
    watcher = Watcher(note=told.append)

    def refuse(*_: object) -> None:
        machine.faults.execute_false(1, ["[enqueue] not under capture"])

    # Asked for when the capture of that network begins.
    begun = iter(range(2))
    take = machine.faults.take_cuda

    def taken(name: str) -> Any:
        if name == "cuStreamBeginCapture" and next(begun) == position:
            refuse()
        return take(name)

    machine.faults.take_cuda = taken  # type: ignore[method-assign]
    with open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path, watcher=watcher)).engine as engine:
        assert not engine.recorded
        check_maps(engine.infer(picture(0)), expected[0])
    assert "not under capture" in told[0]


@pytest.mark.parametrize(("name", "kind"), FRAME)
def test_a_failing_call_in_a_frame(
    machine: Machine, opened: Open, expected: list[RawMaps], name: str, kind: str
) -> None:
    with opened() as engine:
        for position in range(calls_of(machine, name, lambda: engine.infer(picture(2)))):
            machine.faults.cuda_error_on(name, kind, "the text of it", after=position)
            # Bindings give a status, without a text.
            said = "gave CUDA_ERROR" if name.startswith("cu") else "the text of it"
            assert "fp16" in fails(lambda: engine.infer(picture(1)), said)
            machine.faults.clear()
            check_maps(engine.infer(picture(0)), expected[0])
    machine.assert_clean()


def test_what_tensorrt_logs_in_a_frame_that_fails_is_in_the_error(
    machine: Machine, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = machine.faults.take_cuda

    def logged(name: str) -> Any:
        if name == "Stream.synchronize":
            say(machine, Severity.ERROR, "[executionContext.cpp] Error Code 1: Cuda Runtime (a kernel crashed)")
        return take(name)

    with opened() as engine:
        machine.faults.cuda_error_on("Stream.synchronize")
        monkeypatch.setattr(machine.faults, "take_cuda", logged)
        assert "unspecified launch failure; TensorRT: [executionContext.cpp] Error Code 1" in fails(
            lambda: engine.infer(picture(1)), "a kernel crashed"
        )
        monkeypatch.undo()


@pytest.mark.parametrize(("name", "kind"), FRAME[1:])
@pytest.mark.parametrize("integrated", [True, False])
def test_a_gpu_that_is_lost_in_a_frame(bundle: Bundle, tmp_path: Path, name: str, kind: str, integrated: bool) -> None:
    well = Machine(integrated=integrated)
    with well.installed(), open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path)).engine as engine:
        positions = calls_of(well, name, lambda: engine.infer(picture(2)))
    for position in range(positions):
        machine = Machine(integrated=integrated)
        with machine.installed():
            engine = open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path)).engine
            machine.faults.cuda_error_on(name, kind, "lost for good", sticky=True, after=position)
            for _ in range(2):
                assert "Restart the program" in fails(partial(engine.infer, picture(1)), "fp16")
            engine.close()
            machine.assert_clean()


@pytest.mark.parametrize("name", ["Stream.synchronize", "cuGraphExecDestroy"])
@pytest.mark.parametrize("sticky", [False, True])
def test_a_failing_call_while_closing_is_nobodys_error(machine: Machine, opened: Open, name: str, sticky: bool) -> None:
    engine = opened()
    engine.infer(picture(0))
    machine.faults.cuda_error_on(name, "LaunchError", sticky=sticky)
    engine.close()
    engine.close()


@pytest.mark.parametrize("position", [0, 1])
def test_an_execution_that_tensorrt_refuses(
    bare: Machine, opened: Open, expected: list[RawMaps], position: int
) -> None:
    with bare.installed(bindings=False):
        with opened() as engine:
            for _ in range(position):  # the extractor's goes well
                engine.infer(picture(0))
            bare.faults.execute_false(1, ["the first line", "Error Code 1: Myelin (the last line)"])
            fails(lambda: engine.infer(picture(1)), r"^extractor\.fp16: TensorRT cannot run it.*the last line")
            check_maps(engine.infer(picture(0)), expected[0])
        bare.faults.execute_false(1, ["refused at the first run"])
        fails(opened, "refused at the first run")
        bare.assert_clean()


def test_an_execution_that_tensorrt_refuses_without_a_word(bare: Machine, opened: Open) -> None:
    with bare.installed(bindings=False):
        with opened() as engine:
            bare.faults.execute_false(1)
            fails(lambda: engine.infer(picture(1)), "it says nothing")
        bare.assert_clean()


def test_little_memory_on_the_gpu(bundle: Bundle, tmp_path: Path, bare: Machine) -> None:
    with bare.installed():
        open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path)).engine.close()
        needed = sum(call.arguments["bytes"] for call in bare.calls if call.name in {"mem_alloc", "pagelocked_empty"})
    for free in range(0, needed if bare.integrated else needed // 2, 9000):
        short = Machine(integrated=bare.integrated, free_memory=free)
        with short.installed():
            fails(
                lambda: open_tensorrt(bundle, "fp16", OnDevice(cache=tmp_path)),
                "the GPU failed to prepare the engines: .*out of memory",
            )
            short.assert_clean()


def without_the_simulator(error: BaseException | None) -> None:
    """Cut its frames out of an exception: the real libraries have none in Python."""
    while error is not None:
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_next is not None:
            if "cudasim" in traceback.tb_next.tb_frame.f_code.co_filename:
                traceback.tb_next = None
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("name", ["Event.record", "Event.time_since", "Stream.synchronize", "cuGraphLaunch"])
def test_an_exception_of_a_frame_that_somebody_keeps_holds_nothing_on_the_gpu(
    machine: Machine, opened: Open, name: str
) -> None:
    engine = opened()
    machine.faults.cuda_error_on(name)
    with pytest.raises(EngineError) as raised:
        engine.infer(picture(0))
    without_the_simulator(raised.value)
    engine.close()
    machine.assert_clean()


@pytest.mark.parametrize("name", ["Event", "PagelockedHostAllocation.get_device_pointer", "Stream.synchronize"])
def test_an_exception_of_opening_that_somebody_keeps_holds_nothing_on_the_gpu(opened: Open, name: str) -> None:
    machine = Machine()
    with machine.installed():
        machine.faults.cuda_error_on(name, after=1 if name == "Event" else 0)
        with pytest.raises(EngineError) as raised:
            opened()
        without_the_simulator(raised.value)
        machine.assert_clean()
