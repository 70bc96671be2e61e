"""The builder path for real: TensorRT-RTX has the parser and builder of TensorRT, and needs no GPU for them."""

import os
import signal
import threading
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.errors import EngineError, InputError
from diffad_runtime.tensorrt.building import LEAST_FREE, BuildOptions, build_plan, workspace_bytes
from diffad_runtime.tensorrt.interrupt import ctrl_c
from diffad_runtime.tensorrt.log import listening, logger_for

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed: pip install 'diffad-edge[oracle]'")

FREE = 4 << 30
MIB = 1 << 20


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def graphs(bundle: Bundle) -> tuple[bytes, bytes]:
    return bundle.graphs()


def model(node: object) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in "xy")
    graph = helper.make_graph([node], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


def test_a_plan_and_progress_to_the_end(graphs: tuple[bytes, bytes]) -> None:
    for name, graph in zip(("extractor", "reconstructor"), graphs, strict=True):
        told: list[float] = []
        built = build_plan(trt, graph, name, BuildOptions(), free_bytes=FREE, on_progress=told.append)
        assert len(built.plan) > 1000
        assert len(told) > 20
        assert told == sorted(told)
        assert told[-1] == 1


def test_options_and_timings_go_in(graphs: tuple[bytes, bytes]) -> None:
    options = BuildOptions(optimisation_level=1, workspace_mb=32, tf32=False)
    first = build_plan(trt, graphs[1], "r", options, free_bytes=FREE)
    assert first.timings
    assert build_plan(trt, graphs[1], "r", options, free_bytes=FREE, timings=first.timings).plan
    # Of another device, or damaged: the build goes on without.
    assert build_plan(trt, graphs[1], "r", options, free_bytes=FREE, timings=b"rubbish").timings


def test_parser_errors_name_the_node() -> None:
    odd = helper.make_node("NoSuchOperator", ["x"], ["y"], name="the_odd_one")
    with pytest.raises(EngineError, match=r"^r: the parser refuses the_odd_one \(NoSuchOperator\)") as raised:
        build_plan(trt, model(odd), "r", BuildOptions(), free_bytes=FREE)
    assert raised.value.mend


@pytest.mark.parametrize("graph", [b"", b"garbage", b"\x08\x09"])
def test_no_graph_at_all(graph: bytes) -> None:
    with pytest.raises(EngineError, match=r"^r: the (parser|builder)"):
        build_plan(trt, graph, "r", BuildOptions(), free_bytes=FREE)


def test_cancelled_by_whoever_watches(graphs: tuple[bytes, bytes]) -> None:
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) >= 7

    with pytest.raises(KeyboardInterrupt):
        build_plan(trt, graphs[0], "e", BuildOptions(), free_bytes=FREE, cancelled=cancelled)
    assert len(asked) == 7  # not asked again


def test_ctrl_c_ends_the_build_and_the_handler_comes_back(graphs: tuple[bytes, bytes]) -> None:
    before, told = signal.getsignal(signal.SIGINT), []

    def press(fraction: float) -> None:
        told.append(fraction)
        if len(told) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_plan(trt, graphs[0], "e", BuildOptions(), free_bytes=FREE, on_progress=press)
    assert len(told) < 12
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1
    # Nothing of it is left for the next one.
    assert build_plan(trt, graphs[0], "e", BuildOptions(), free_bytes=FREE).plan


def test_an_error_of_the_watcher_comes_out(graphs: tuple[bytes, bytes]) -> None:
    def broken(_: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build_plan(trt, graphs[0], "e", BuildOptions(), free_bytes=FREE, on_progress=broken)


def test_built_on_a_worker_thread(graphs: tuple[bytes, bytes]) -> None:
    plans: list[bytes] = []
    worker = threading.Thread(
        target=lambda: plans.append(build_plan(trt, graphs[0], "e", BuildOptions(), free_bytes=FREE).plan)
    )
    worker.start()
    worker.join(60)
    assert plans


def test_too_little_memory_is_said_before_anything_is_tried() -> None:
    with pytest.raises(EngineError, match=r"e: only 383 MiB of memory are free, building needs 384.*swap"):
        build_plan(None, b"", "e", BuildOptions(), free_bytes=LEAST_FREE - 1)


def test_the_workspace_leaves_room_for_all_else() -> None:
    assert workspace_bytes(BuildOptions(workspace_mb=48), 0) == 48 * MIB
    assert workspace_bytes(BuildOptions(workspace_mb=900), 1512 * MIB) == 900 * MIB
    assert workspace_bytes(BuildOptions(workspace_mb=8192), 1512 * MIB) == 1000 * MIB
    assert workspace_bytes(BuildOptions(workspace_mb=8192), 400 * MIB) == 64 * MIB
    assert workspace_bytes(BuildOptions(), 400 * MIB) == 64 * MIB
    assert workspace_bytes(BuildOptions(), 1512 * MIB) == 500 * MIB
    assert workspace_bytes(BuildOptions(), 64 << 30) == 1024 * MIB


@pytest.mark.parametrize("options", [{"optimisation_level": 6}, {"optimisation_level": -1}, {"workspace_mb": 0}])
def test_options_out_of_range(options: dict[str, int]) -> None:
    with pytest.raises(InputError):
        BuildOptions(**options)


def test_one_logger_and_each_listener_hears_its_own() -> None:
    assert logger_for(trt) is logger_for(trt)
    log, severity = logger_for(trt), trt.ILogger.Severity
    with listening(trt) as outer:
        log.log(severity.WARNING, "first")
        with listening(trt) as inner:
            log.log(severity.ERROR, "second\n line")
            log.log(severity.INFO, "not kept")
        log.log(severity.INTERNAL_ERROR, "third")
    log.log(severity.ERROR, "nobody listens")
    assert list(outer.lines) == ["first", "second\n line", "third"]
    assert list(outer.errors) == ["second\n line", "third"]
    assert list(inner.lines) == ["second\n line"]
    assert outer.last() == "second line; third"
    assert outer.last(1) == "third"


def test_a_flood_of_lines_is_bounded() -> None:
    with listening(trt) as heard:
        for number in range(5000):
            logger_for(trt).log(trt.ILogger.Severity.ERROR, str(number))
    assert len(heard.lines) == len(heard.errors) == 200
    assert heard.errors[-1] == "4999"


def test_ctrl_c_is_seen_on_any_thread_and_other_signals_are_not() -> None:
    woken = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with ctrl_c() as pressed:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert not pressed()
            os.kill(os.getpid(), signal.SIGINT)
            seen: list[bool] = []
            worker = threading.Thread(target=lambda: seen.append(pressed()))
            worker.start()
            worker.join()
            assert seen == [True]
            assert pressed()
    finally:
        signal.signal(signal.SIGUSR1, woken)
    with ctrl_c() as pressed:
        assert not pressed()
