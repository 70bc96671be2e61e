"""From a bundle to a TensorRT engine: what is built and when, what the cache is trusted with, what a failure says.

And what `choose` and `start` make of it on machines that have all, some or nothing of what TensorRT needs.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from cudasim import Machine
from cudasim.plan import Made, pack, unpack

from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.enginecache.store import EngineStore, kept_engines
from diffad_runtime.engines.choice import Choice, choose
from diffad_runtime.engines.ondevice import OnDevice, Watcher
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import EngineError, GateError, InputError, MissingExtraError
from diffad_runtime.startup import start
from diffad_runtime.tensorrt.building import LEAST_FREE
from diffad_runtime.tensorrt.opening import Opened, open_tensorrt

S = 64
MIB = 1 << 20
BUILD, TAKE = "Builder.build_serialized_network", "Runtime.deserialize_cuda_engine"
FIRST = "int8-fp16-trt"
"""The variant that is tried first on a GPU."""


class Told:
    """Whoever watches."""

    def __init__(self, cache: Path, **options: Any) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.progress: list[tuple[str, int, int]] = []
        self.stop = False
        self.device = OnDevice(
            cache=cache,
            watcher=Watcher(
                note=self.notes.append,
                warn=self.warnings.append,
                progress=lambda *told: self.progress.append(told),
                cancelled=lambda: self.stop,
            ),
            **options,
        )


@pytest.fixture(scope="module")
def bundle(golden_bundle: Path) -> Bundle:
    return open_bundle(golden_bundle)


@pytest.fixture(scope="module")
def image() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (S, S, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(bundle: Bundle, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    with OnnxRuntimeEngine(*bundle.graphs("fp32"), input_size=S, variant="fp32", threads=1) as engine:
        return engine.infer(image).anomaly


@pytest.fixture(params=["integrated", "discrete"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Installed, and clean in the end. Free memory is the simulator's, on both kinds."""
    made = Machine(integrated=request.param == "integrated")
    monkeypatch.setattr("diffad_runtime.cuda.gpu._available_bytes", lambda: 0)
    with made.installed():
        yield made
        made.assert_clean()


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "cache")


@pytest.fixture
def check(
    bundle: Bundle, told: Told, image: npt.NDArray[np.uint8], expected: npt.NDArray[np.float32]
) -> Callable[..., Opened]:
    """Open, hold a map against ONNX Runtime's, close; and how it was come by."""

    def opened(variant: str = "fp16", device: OnDevice = told.device, of: Bundle = bundle) -> Opened:
        made = open_tensorrt(of, variant, device)
        with made.engine as engine:
            np.testing.assert_array_equal(engine.infer(image).anomaly, expected)
        return made

    return opened


def fails(work: Callable[[], Any], match: str) -> EngineError:
    with pytest.raises(EngineError, match=match) as raised:
        work()
    assert "\n" not in str(raised.value)
    assert len(raised.value.mend) > 20
    return raised.value


def plans(told: Told) -> list[Path]:
    return sorted((told.device.cache or Path()).glob("engines/*.plan"))


def refused(told: Told) -> list[Path]:
    return sorted((told.device.cache or Path()).glob("engines/*.refused"))


def made_with(machine: Machine, plan: Path) -> Made:
    found = unpack(plan.read_bytes(), machine.tensorrt_version, "{}.{}".format(*machine.compute_capability))
    assert not isinstance(found, str), found
    return found[0]


# The cache.


def test_the_first_open_builds_two_and_the_second_none(
    machine: Machine, told: Told, check: Callable[..., Opened]
) -> None:
    first = check()
    assert machine.count(BUILD) == machine.count(TAKE) == 2
    assert [one.name for one in first.loaded] == ["extractor.fp16", "reconstructor.fp16"]
    assert all(one.build_s is not None and one.build_s >= 0 and not one.lost for one in first.loaded)
    assert [one.plan_bytes for one in first.loaded] == [path.stat().st_size for path in plans(told)]
    whats = [what for what, _, _ in told.progress]
    assert list(dict.fromkeys(whats)) == [
        "building the engine extractor.fp16",
        "building the engine reconstructor.fp16",
    ]
    for what in set(whats):
        done = [(done, total) for told_of, done, total in told.progress if told_of == what]
        assert done == sorted(done)
        assert (done[0], done[-1]) == ((0, 100), (100, 100))
        assert len(set(done)) > 20
    told.progress.clear()
    second = check()
    assert (machine.count(BUILD), machine.count(TAKE)) == (2, 4)
    assert [one.build_s for one in second.loaded] == [None, None]
    assert [one.plan_bytes for one in second.loaded] == [one.plan_bytes for one in first.loaded]
    assert told.warnings == told.notes == told.progress == []


def test_one_missing_plan_is_the_only_one_that_is_built(
    machine: Machine, told: Told, check: Callable[..., Opened]
) -> None:
    check()
    next(path for path in plans(told) if path.name.startswith("extractor.")).unlink()
    opened = check()
    assert [one.build_s is None for one in opened.loaded] == [False, True]
    assert machine.count(BUILD) == 3
    assert told.warnings == []


def test_rebuild_takes_nothing_from_the_cache(machine: Machine, told: Told, check: Callable[..., Opened]) -> None:
    check()
    check(device=replace(told.device, rebuild=True))
    assert machine.count(BUILD) == 4
    check()
    assert machine.count(BUILD) == 4
    assert len(plans(told)) == 2
    assert refused(told) == []


def test_timings_of_the_first_build_go_into_the_next(
    machine: Machine, told: Told, check: Callable[..., Opened]
) -> None:
    check()
    check(device=replace(told.device, rebuild=True))
    caches = [call for call in machine.calls if call.name == "IBuilderConfig.create_timing_cache"]
    sizes = [call.arguments["bytes"] for call in caches]
    assert sizes[0] == 0
    assert len(sizes) == 4
    assert 0 < sizes[1] < sizes[2] == sizes[3]


def test_options_are_given_to_the_builder_and_what_was_asked_for_is_not_built_again(
    machine: Machine, told: Told, check: Callable[..., Opened]
) -> None:
    asked = replace(told.device, optimisation_level=5, workspace_mb=100)
    check(device=asked)
    for plan in plans(told):
        assert plan.stem.endswith("-o5-w100")
        made = made_with(machine, plan)
        assert (made.optimisation_level, made.workspace) == (5, 100 * MIB)
    check(device=asked)
    check()  # `run` takes what `build --optimisation-level 5` made
    assert machine.count(BUILD) == 2
    check(device=replace(told.device, optimisation_level=1))
    assert machine.count(BUILD) == 4


def test_fp32_is_built_without_tf32_and_the_others_with_it(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened]
) -> None:
    variants = [name for name, variant in bundle.manifest.variants.items() if variant.target != "cpu"]
    for variant in variants:
        check(variant)
    found = {plan.name.split(".")[1]: made_with(machine, plan).tf32 for plan in plans(told)}
    assert found == {name: name != "fp32" for name in variants}


def test_variants_with_the_same_graph_have_an_engine_each(
    machine: Machine, told: Told, check: Callable[..., Opened]
) -> None:
    check("fp16")
    check("int8-trt")
    assert len(plans(told)) == 4
    for variant in ("fp16", "int8-trt", "fp16"):
        assert [one.build_s for one in check(variant).loaded] == [None, None]
    assert machine.count(BUILD) == 4


@pytest.mark.parametrize("which", ["extractor", "reconstructor"])
@pytest.mark.parametrize("fault", ["altered", "truncated", "empty", "side file gone", "side file of another"])
def test_a_damaged_plan_is_never_loaded_but_set_aside_and_built_anew(
    machine: Machine, told: Told, check: Callable[..., Opened], which: str, fault: str
) -> None:
    check()
    plan = next(path for path in plans(told) if path.name.startswith(which))
    data, side = plan.read_bytes(), plan.with_suffix(".json")
    if fault == "altered":
        plan.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif fault == "truncated":
        plan.write_bytes(data[: len(data) // 2])
    elif fault == "empty":
        plan.write_bytes(b"")
    elif fault == "side file gone":
        side.unlink()
    else:
        record = json.loads(side.read_text())
        record["key"]["device"]["gpu"] = "Another"
        side.write_text(json.dumps(record))
    given = machine.count(TAKE)
    opened = check()
    assert [one.build_s is None for one in opened.loaded] == [which != "extractor", which != "reconstructor"]
    assert machine.count(TAKE) == given + 2  # what was wrong was not given to TensorRT
    assert len(told.warnings) == 1
    assert told.warnings[0].startswith(f"the engine {which}.fp16 in the cache cannot be used, it is built anew: ")
    assert [path.name for path in refused(told)] == [f"{plan.name}.refused"]
    check()
    assert machine.count(BUILD) == 3


OTHERS: dict[str, dict[str, Any]] = {
    "TensorRT": {"tensorrt_version": "10.4.0"},
    "GPU": {"name": "Thor"},
    "compute capability": {"compute_capability": (11, 0)},
    "multiprocessors": {"multiprocessors": 16},
    "CUDA": {"cuda_version": (12, 9)},
}


@pytest.mark.parametrize("facts", OTHERS.values(), ids=OTHERS)
def test_another_machine_on_the_same_folder_builds_its_own_and_leaves_the_others(
    told: Told, check: Callable[..., Opened], facts: dict[str, Any]
) -> None:
    one, other = Machine(), Machine(**facts)
    for machine, builds in ((one, 2), (other, 2), (one, 2), (other, 2)):
        with machine.installed():
            check()
            assert machine.count(BUILD) == builds
            machine.assert_clean()
    assert len(plans(told)) == 4
    assert told.warnings == []
    assert not any("timing cache" in line for _, line in other.said)


def _put(plan: Path, data: bytes) -> None:
    """A plan that its side file agrees with."""
    record = json.loads(plan.with_suffix(".json").read_text())
    record |= {"plan_sha256": hashlib.sha256(data).hexdigest(), "plan_bytes": len(data)}
    plan.with_suffix(".json").write_text(json.dumps(record))
    plan.write_bytes(data)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"tensorrt_version": "10.4.0"}, "built by another TensorRT or for another GPU"),
        ({"compute_capability": (11, 0)}, "built by another TensorRT or for another GPU"),
        ({}, "built by another TensorRT or for another GPU"),
    ],
    ids=["another TensorRT", "another GPU", "no plan at all"],
)
def test_a_plan_that_tensorrt_itself_does_not_take_is_built_anew_once(
    machine: Machine, told: Told, check: Callable[..., Opened], facts: dict[str, Any], why: str
) -> None:
    check()
    foreign = b"not a plan"
    if facts:
        version = facts.get("tensorrt_version", machine.tensorrt_version)
        compute = "{}.{}".format(*facts.get("compute_capability", machine.compute_capability))
        foreign = pack(Made(version, compute, tf32=True, optimisation_level=3, workspace=1), b"graph")
    for plan in plans(told):
        _put(plan, foreign)
    check()
    assert machine.count(BUILD) == 4
    assert told.warnings == [
        f"the engine {graph}.fp16 in the cache cannot be used, it is built anew: {why}"
        for graph in ("extractor", "reconstructor")
    ]
    assert len(refused(told)) == 2
    check()
    assert machine.count(BUILD) == 4


def test_a_plan_that_is_not_taken_back_once_is_built_anew_once(
    machine: Machine, told: Told, check: Callable[..., Opened]
) -> None:
    check()
    machine.faults.deserialise_none(1, ["Error Code 4: Internal Error (Engine deserialization failed.)"])
    check()
    assert machine.count(BUILD) == 3
    assert told.warnings == [
        "the engine extractor.fp16 in the cache cannot be used, it is built anew: "
        "Error Code 4: Internal Error (Engine deserialization failed.)"
    ]
    assert len(refused(told)) == 1
    assert len(plans(told)) == 2


@pytest.mark.parametrize("cached", [True, False])
def test_no_memory_to_run_an_engine_is_no_reason_to_build_it_again(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened], cached: bool
) -> None:
    if cached:
        check()
    before = machine.count(BUILD)
    machine.faults.no_execution_context(-1, ["Error Code 2: OutOfMemory (no further information)"])
    error = fails(
        lambda: open_tensorrt(bundle, "fp16", told.device),
        r"^extractor\.fp16: the engine cannot be loaded: no memory to load it",
    )
    assert "--variant" in error.mend
    assert machine.count(BUILD) == before + (not cached)
    machine.assert_clean()
    machine.faults.clear()
    assert [one.build_s is None for one in check().loaded] == [True, cached]


@pytest.mark.parametrize("cached", [True, False])
def test_plans_that_are_never_taken_are_an_error_after_one_build(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened], cached: bool
) -> None:
    if cached:
        check()
    before = machine.count(BUILD)
    machine.faults.deserialise_none(-1, ["Error Code 2: OutOfMemory (no further information)"])
    error = fails(
        lambda: open_tensorrt(bundle, "fp16", told.device),
        r"^extractor\.fp16: the engine that was just built cannot be loaded: no memory to load it",
    )
    assert "--variant" in error.mend
    assert machine.count(BUILD) == before + 1
    machine.assert_clean()
    # What cannot be loaded is not kept.
    assert [plan for plan in plans(told) if plan.name.startswith("extractor")] == []
    machine.faults.clear()
    check()


def test_the_second_network_failing_frees_the_first(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened]
) -> None:
    machine.faults.on_step(lambda *_: machine.faults.build_fails(times=1))  # the next one
    fails(
        lambda: open_tensorrt(bundle, "fp16", told.device),
        r"^reconstructor\.fp16: the builder gave no engine: it said nothing",
    )
    machine.assert_clean()
    assert [plan.name.split(".")[0] for plan in plans(told)] == ["extractor"]
    machine.faults.clear()
    assert [one.build_s is None for one in check().loaded] == [True, False]


def test_an_engine_that_cannot_be_kept_runs_all_the_same(
    machine: Machine, told: Told, check: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise InputError("cannot write: No space left on device", mend="Make room")

    monkeypatch.setattr(EngineStore, "keep", full)
    opened = check()
    assert [one.lost for one in opened.loaded] == 2 * ["cannot write: No space left on device. Make room."]
    assert len(told.warnings) == 2
    assert told.warnings[0].startswith("the engine extractor.fp16 could not be kept, the next start builds it again: ")
    check()
    assert machine.count(BUILD) == 4


def test_graphs_that_are_no_pair_are_refused_and_freed(
    machine: Machine, bundle: Bundle, told: Told, tmp_path: Path
) -> None:
    """The extractor in place of the reconstructor."""
    extractor, _ = bundle.graphs("fp32")
    members = {"e.onnx": extractor, "r.onnx": extractor}
    variant = bundle.variant("fp32").model_copy(update={"extractor": "e.onnx", "reconstructor": "r.onnx"})
    manifest = bundle.manifest.model_copy(
        update={"variants": {"fp32": variant}, "default_variant": "fp32", "members": describe_members(members)}
    )
    odd = open_bundle(write_bundle(tmp_path / "odd.diffad", manifest, members))
    fails(lambda: open_tensorrt(odd, "fp32", told.device), "the reconstructor's inputs are image uint8")
    machine.assert_clean()


# Building.


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize(
    ("free", "limit"), [(512 * MIB, 64), (1024 * MIB, 256), (2048 * MIB, 768), (4096 * MIB, 1024), (6144 * MIB, 1024)]
)
@pytest.mark.parametrize("integrated", [True, False])
def test_the_workspace_follows_free_memory(
    check: Callable[..., Opened], monkeypatch: pytest.MonkeyPatch, integrated: bool, free: int, limit: int
) -> None:
    """On an integrated GPU by the system's figure, else by CUDA's."""
    machine = Machine(integrated=integrated, free_memory=3000 * MIB if integrated else free)
    monkeypatch.setattr("diffad_runtime.cuda.gpu._available_bytes", lambda: free if integrated else 1)
    with machine.installed():
        check()
        machine.assert_clean()
    limits = [call.arguments for call in machine.calls if call.name == "IBuilderConfig.set_memory_pool_limit"]
    assert limits[0] == {"pool": "WORKSPACE", "bytes": limit * MIB}


def test_more_workspace_than_there_is_memory_is_cut_and_said(bundle: Bundle, tmp_path: Path) -> None:
    told = Told(tmp_path, workspace_mb=8000)
    machine = Machine(integrated=False, free_memory=2000 * MIB)
    with machine.installed():
        open_tensorrt(bundle, "fp16", told.device).engine.close()
        machine.assert_clean()
    limits = [call.arguments for call in machine.calls if call.name == "IBuilderConfig.set_memory_pool_limit"]
    assert limits[0]["bytes"] == 1488 * MIB
    assert told.warnings[0] == "extractor.fp16: 2000 MiB are free, so the workspace is 1488 MiB and not 8000"


def test_little_free_memory_is_refused_before_anything_is_built(bundle: Bundle, told: Told) -> None:
    machine = Machine(integrated=False, free_memory=LEAST_FREE - 1)
    with machine.installed():
        error = fails(
            lambda: open_tensorrt(bundle, "fp16", told.device),
            r"^extractor\.fp16: only 383 MiB of memory are free, building needs 384 at least",
        )
        assert "multi-user.target" in error.mend
        assert machine.count("Builder") == 0
        machine.assert_clean()


FAILURES = [
    (["Requested amount of GPU memory (1073741824 bytes) could not be allocated.", "Error Code 2: OutOfMemory"],
     r"the builder ran out of memory \(\d+ MiB were free when it began\)", "--workspace-mb"),
    (["Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[/a...]}.)"],
     r"no kernel for \{ForeignNode\[/a", "--variant"),
    (["first", "second", "last words"], "the builder gave no engine: second; last words", "export"),
    ([], "the builder gave no engine: it said nothing", "export"),
]  # fmt: skip


@pytest.mark.parametrize(("log", "what", "mend"), FAILURES)
def test_a_build_that_fails_says_why_and_leaves_nothing(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened], log: list[str], what: str, mend: str
) -> None:
    machine.faults.build_fails(log)
    error = fails(lambda: open_tensorrt(bundle, "fp16", told.device), rf"^extractor\.fp16: .*{what}")
    assert mend in str(error.mend).replace("Export", "export")
    assert machine.count(BUILD) == 1
    machine.assert_clean()
    assert plans(told) == refused(told) == []
    check()


def test_a_graph_that_the_parser_refuses(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened]
) -> None:
    machine.faults.parser_errors(
        [("/blocks.0/Odd", "GridSampler", "No importer registered for op: GridSampler.", "UNSUPPORTED_NODE")]
    )
    error = fails(
        lambda: open_tensorrt(bundle, "fp16", told.device),
        r"^extractor\.fp16: the parser refuses /blocks\.0/Odd \(GridSampler\): No importer registered",
    )
    assert "This TensorRT does not know GridSampler" in error.mend
    assert machine.count(BUILD) == 0
    machine.assert_clean()
    assert plans(told) == []
    machine.faults.clear()
    check()


# Cancelled.


@pytest.mark.parametrize("steps", [1, 20, 42])
def test_ctrl_c_ends_a_build_and_leaves_nothing(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened], steps: int
) -> None:
    machine.faults.cancel_after(steps)
    with pytest.raises(KeyboardInterrupt):
        open_tensorrt(bundle, "fp16", told.device)
    machine.assert_clean()
    assert plans(told) == []
    assert kept_engines(told.device.cache or Path()) == []
    assert machine.count(BUILD) == 1
    machine.faults.clear()
    check()
    assert machine.count(BUILD) == 3


def test_a_watcher_ends_a_build_and_leaves_nothing(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened]
) -> None:
    def stop(done: int, _: str) -> None:
        told.stop = done >= 10

    machine.faults.on_step(stop)
    with pytest.raises(KeyboardInterrupt):
        open_tensorrt(bundle, "fp16", told.device)
    machine.assert_clean()
    assert plans(told) == []
    machine.faults.clear()
    told.stop = False
    check()


def test_a_watcher_ends_a_build_that_another_thread_started(machine: Machine, bundle: Bundle, told: Told) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            open_tensorrt(bundle, "fp16", told.device)
        except KeyboardInterrupt as error:
            raised.append(error)

    machine.faults.on_step(lambda done, _: setattr(told, "stop", done >= 5))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(raised) == 1
    machine.assert_clean()


def test_a_watcher_that_fails_ends_the_build_with_its_own_error(
    bundle: Bundle, told: Told, check: Callable[..., Opened]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the terminal is gone")

    machine = Machine()
    device = replace(told.device, watcher=replace(told.device.watcher, cancelled=broken))
    # Not asked whether it is clean: the exception keeps the simulator's own frames, TensorRT has none.
    with machine.installed():
        with pytest.raises(ZeroDivisionError, match="the terminal is gone"):
            open_tensorrt(bundle, "fp16", device)
        assert plans(told) == []
        check()


def test_the_second_build_cancelled_keeps_the_first(
    machine: Machine, bundle: Bundle, told: Told, check: Callable[..., Opened]
) -> None:
    machine.faults.on_step(lambda *_: setattr(told, "stop", machine.count(BUILD) == 2))
    with pytest.raises(KeyboardInterrupt):
        open_tensorrt(bundle, "fp16", told.device)
    machine.assert_clean()
    assert [plan.name.split(".")[0] for plan in plans(told)] == ["extractor"]
    told.stop = False
    machine.faults.clear()
    check()
    assert machine.count(BUILD) == 3


# Another process.


@pytest.mark.usefixtures("bundle")
def test_another_builder_is_waited_for_and_its_engine_taken(
    machine: Machine, told: Told, check: Callable[..., Opened], tmp_path: Path
) -> None:
    check()
    held = [plan.rename(tmp_path / plan.name) for plan in plans(told)]
    sides = [path.rename(tmp_path / path.name) for path in (told.device.cache or Path()).glob("engines/*.json")]
    store, noted = EngineStore(told.device.cache or Path()), threading.Event()

    def note(line: str) -> None:
        told.notes.append(line)
        noted.set()

    device = replace(told.device, watcher=replace(told.device.watcher, note=note))
    got: list[Opened] = []
    with store.building():
        worker = threading.Thread(target=lambda: got.append(check(device=device)))
        worker.start()
        assert noted.wait(10)
        for path in [*held, *sides]:
            path.rename((told.device.cache or Path()) / "engines" / path.name)
    worker.join()
    assert [one.build_s for one in got[0].loaded] == [None, None]
    assert told.notes == ["another process is building engines, waiting for it"]
    assert machine.count(BUILD) == 2


def test_waiting_for_another_builder_can_be_cancelled(machine: Machine, bundle: Bundle, told: Told) -> None:
    store = EngineStore(told.device.cache or Path())
    device = replace(told.device, watcher=replace(told.device.watcher, cancelled=lambda: True))
    raised: list[BaseException] = []

    def work() -> None:
        try:
            open_tensorrt(bundle, "fp16", device)
        except KeyboardInterrupt as error:
            raised.append(error)

    worker = threading.Thread(target=work)
    with store.building():
        worker.start()
        worker.join(5)
        waits = worker.is_alive()
    worker.join()
    assert not waits
    assert len(raised) == 1
    assert machine.count("Builder") == 0
    with store.building():  # the lock is free
        pass


def test_two_threads_open_at_once_and_build_once(machine: Machine, check: Callable[..., Opened]) -> None:
    got: list[Opened] = []
    threads = [threading.Thread(target=lambda: got.append(check())) for _ in range(2)]
    machine.faults.slow_steps(0.001)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 2
    assert machine.count(BUILD) == 2


# Which backend, which variant.


def test_auto_takes_tensorrt_and_says_on_what(machine: Machine, bundle: Bundle, told: Told) -> None:
    assert choose(bundle) == Choice("tensorrt", "TensorRT 10.3.0 on Orin, CUDA 12.6")
    started = start(bundle, device=told.device)
    with started.engine as engine:
        assert (engine.backend, engine.variant) == ("tensorrt", FIRST)
    assert started.check is not None
    assert started.check.passed
    assert started.refused == ()
    assert told.notes == [f"engine: tensorrt, variant '{FIRST}' (TensorRT 10.3.0 on Orin, CUDA 12.6)"]
    assert told.warnings == []
    with open_engine(bundle, device=told.device) as engine:
        assert (engine.backend, engine.variant) == ("tensorrt", FIRST)
    assert machine.count(BUILD) == 2


def test_a_variant_made_for_cpus_is_not_for_tensorrt(machine: Machine, bundle: Bundle, told: Told) -> None:
    with start(bundle, variant="int8", device=told.device).engine as engine:
        assert engine.backend == "onnxruntime"
    with pytest.raises(InputError, match="variant 'int8' is made for CPUs, not for tensorrt"):
        start(bundle, "tensorrt", "int8", device=told.device)
    assert machine.count("Builder") == 0


LACKING: dict[str, tuple[dict[str, Any], dict[str, bool], str, str]] = {
    "no driver": ({}, {}, "cuInit failed: no CUDA-capable device is detected", "no GPU answers: cuInit failed"),
    "no GPU": ({"gpus": 0}, {}, "", "CUDA finds no GPU"),
    "no pycuda": ({}, {"pycuda": False}, "", "the TensorRT backend needs the package 'pycuda', which is not installed"),
    "no TensorRT": ({}, {"tensorrt": False}, "", "TensorRT is not installed: no Python module 'tensorrt'"),
    "an old TensorRT": ({"tensorrt_version": "8.6.1"}, {}, "", "TensorRT 8.6.1 is too old, expected 10.3 or later"),
}


@pytest.mark.parametrize(("facts", "there", "text", "why"), LACKING.values(), ids=LACKING)
def test_auto_goes_on_with_onnxruntime_where_something_is_lacking_and_says_what(
    bundle: Bundle, told: Told, facts: dict[str, Any], there: dict[str, bool], text: str, why: str
) -> None:
    machine = Machine(**facts)
    if text:
        machine.faults.no_gpu(text)
    with machine.installed(**there):
        choice = choose(bundle)
        assert choice.backend == "onnxruntime"
        assert choice.why.startswith(why)
        started = start(bundle, threads=1, device=told.device)
        started.engine.close()
        assert started.choice == choice
        assert told.notes == [f"engine: onnxruntime, variant 'int8' ({choice.why})"]
        assert told.warnings == []
        for backend_asked in (start, open_engine):
            with pytest.raises((EngineError, MissingExtraError)) as raised:
                backend_asked(bundle, "tensorrt", device=told.device)
            assert raised.value.what.startswith(why)
            assert len(raised.value.mend) > 15
        machine.assert_clean()
    assert not plans(told)


@pytest.mark.parametrize("name", ["init", "Device.count", "Device.retain_primary_context", "get_driver_version"])
def test_a_driver_that_fails_is_no_gpu_and_may_work_later(bundle: Bundle, name: str) -> None:
    machine = Machine()
    machine.faults.cuda_error_on(name, "RuntimeError", "the driver is busy")
    with machine.installed():
        choice = choose(bundle)
        assert choice.backend == "onnxruntime"
        assert choice.why.startswith("no GPU answers: ")
        assert choice.why.endswith("the driver is busy")
        assert choose(bundle).backend == "tensorrt"
        machine.assert_clean()


WRONG: dict[str, dict[str, Any]] = {"times 1.5": {"scale": 1.5}, "NaN": {"nan": True}}


def _by_variant(bundle: Bundle, folder: Path) -> Bundle:
    """The same graphs, told apart by a name inside."""
    variants, members = {}, {}
    for name, variant in bundle.manifest.variants.items():
        paths = {}
        for which, graph in zip(("extractor", "reconstructor"), bundle.graphs(name), strict=True):
            model = onnx.load_from_string(graph)
            model.doc_string = f"of {name}"
            paths[which] = f"graphs/{which}.{name}.onnx"
            members[paths[which]] = model.SerializeToString()
        variants[name] = variant.model_copy(update=paths)
    golden = {name: bundle.read(name) for name in bundle.manifest.members if name.startswith("golden/")}
    members |= golden
    manifest = bundle.manifest.model_copy(update={"variants": variants, "members": describe_members(members)})
    return open_bundle(write_bundle(folder / "apart.diffad", manifest, members))


@pytest.fixture(scope="module")
def apart(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return _by_variant(bundle, tmp_path_factory.mktemp("apart"))


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_variant_with_wrong_numbers_is_refused_and_the_next_one_taken(
    machine: Machine, apart: Bundle, told: Told, wrong: dict[str, Any]
) -> None:
    machine.faults.wrong_numbers(lambda onnx: b"of int8" in onnx, **wrong)
    started = start(apart, "tensorrt", device=told.device)
    with started.engine as engine:
        assert engine.variant == "fp16"
    assert [(name, backend) for name, backend, _ in started.refused] == [
        (FIRST, "tensorrt"), ("int8-trt", "tensorrt"),
    ]  # fmt: skip
    assert len(told.warnings) == 2
    assert told.warnings[0].endswith("next: variant 'int8-trt' on tensorrt")
    assert ("NaN" in told.warnings[0]) == ("nan" in wrong)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_where_all_are_wrong_auto_goes_on_to_onnxruntime(
    machine: Machine, bundle: Bundle, told: Told, wrong: dict[str, Any]
) -> None:
    machine.faults.wrong_numbers(**wrong)
    started = start(bundle, threads=1, device=told.device)
    with started.engine as engine:
        assert (engine.backend, engine.variant) == ("onnxruntime", "int8")
    assert [name for name, _, _ in started.refused] == [FIRST, "int8-trt", "fp16", "fp32"]
    assert told.notes == ["engine: onnxruntime, variant 'int8' (no variant works on tensorrt)"]
    machine.assert_clean()
    with pytest.raises((GateError, EngineError), match=r"'fp32'|variant fp32"):
        start(bundle, "tensorrt", device=told.device)
    with pytest.raises((GateError, EngineError), match=r"'fp16'|variant fp16"):
        start(bundle, variant="fp16", device=told.device)


@pytest.mark.parametrize("integrated", [True, False])
def test_a_gpu_that_is_lost_at_the_start_leaves_the_cpu(bundle: Bundle, told: Told, integrated: bool) -> None:
    machine = Machine(integrated=integrated)
    machine.faults.cuda_error_on("Stream.synchronize", sticky=True)
    with machine.installed():
        started = start(bundle, threads=1, device=told.device)
        started.engine.close()
        machine.assert_clean()
    assert started.choice.backend == "onnxruntime"
    assert [name for name, _, _ in started.refused] == [FIRST, "int8-trt", "fp16", "fp32"]


def test_a_build_that_is_cancelled_is_not_gone_on_with(machine: Machine, bundle: Bundle, told: Told) -> None:
    machine.faults.cancel_after(3)
    with pytest.raises(KeyboardInterrupt):
        start(bundle, device=told.device)
    assert machine.count(BUILD) == 1
    assert told.warnings == []


def test_a_bundle_that_cannot_be_built_at_all_runs_on_the_cpu(machine: Machine, bundle: Bundle, told: Told) -> None:
    machine.faults.build_fails(["Error Code 2: OutOfMemory (no further information)"], times=-1)
    started = start(bundle, threads=1, device=told.device)
    with started.engine as engine:
        assert engine.backend == "onnxruntime"
    assert machine.count(BUILD) == 4  # one attempt a variant
    assert all("ran out of memory" in line for line in told.warnings)


@pytest.mark.parametrize("kind", ["Builder", "Runtime"])
def test_a_tensorrt_that_does_not_start(
    machine: Machine,
    bundle: Bundle,
    told: Told,
    check: Callable[..., Opened],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bindings raise TypeError where TensorRT gives no builder or runtime, as with a broken driver."""

    def nothing(*_: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(import_module("tensorrt"), kind, nothing)
    fails(lambda: open_tensorrt(bundle, "fp16", told.device), r"^TensorRT does not start: .*nullptr")
    machine.assert_clean()
    monkeypatch.undo()
    check()
