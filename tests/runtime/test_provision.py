"""Engines made ready ahead of time, on a simulated machine: what is made, checked, timed, and written down."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cudasim import Machine

from diffad_runtime import provision as module
from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.cuda.gpu import open_gpu
from diffad_runtime.enginecache.ranking import find_ranking
from diffad_runtime.enginecache.store import EngineStore
from diffad_runtime.engines.base import RawMaps
from diffad_runtime.engines.ondevice import OnDevice, Watcher
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.errors import EngineError, InputError, MissingExtraError
from diffad_runtime.provision import VariantMade, provision
from diffad_runtime.result import Image
from diffad_runtime.startup import start
from diffad_runtime.tensorrt.library import load_tensorrt
from diffad_runtime.tensorrt.opening import device_facts

BUILD = "Builder.build_serialized_network"
LADDER = ["int8-fp16-trt", "int8-trt", "fp16", "fp32"]


@pytest.fixture(scope="module")
def bundle(golden_bundle: Path) -> Bundle:
    return open_bundle(golden_bundle)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer frames are timed."""
    monkeypatch.setattr(module, "_WARM_UP", 1)
    monkeypatch.setattr(module, "_TIMED", 5)


@pytest.fixture(params=["integrated", "discrete"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    made = Machine(integrated=request.param == "integrated")
    with made.installed():
        yield made
        made.assert_clean()


@pytest.fixture
def lines() -> list[str]:
    """What the watcher was told; warnings begin with one."""
    return []


@pytest.fixture
def device(tmp_path: Path, lines: list[str]) -> OnDevice:
    watcher = Watcher(note=lines.append, warn=lambda line: lines.append(f"warning: {line}"))
    return OnDevice(cache=tmp_path / "cache", watcher=watcher)


def check_times(made: VariantMade) -> None:
    assert list(made.latency_ms) == ["extract", "reconstruct", "total"]
    for figures in made.latency_ms.values():
        assert 0 <= figures["p50"] <= figures["p95"] <= figures["p99"]
    total = made.latency_ms["total"]["p50"]
    assert made.latency_ms["extract"]["p50"] + made.latency_ms["reconstruct"]["p50"] <= 1.5 * total


def test_the_first_variant_that_judges_right_is_the_only_one_made(
    machine: Machine, bundle: Bundle, device: OnDevice, lines: list[str]
) -> None:
    (made,) = provision(bundle, None, device)
    assert (made.variant, made.reason, made.mend, made.lost, made.recorded) == (LADDER[0], "", "", "", True)
    assert made.check is not None
    assert made.check.passed
    assert [one.name for one in made.engines] == [f"extractor.{LADDER[0]}", f"reconstructor.{LADDER[0]}"]
    assert all(one.build_s is not None and one.plan_bytes > 100 for one in made.engines)
    check_times(made)
    assert machine.count(BUILD) == 2
    assert lines == []
    assert find_ranking(device.cache or Path(), bundle.digest, device_facts(load_tensorrt(), open_gpu())) is None
    (again,) = provision(bundle, None, device)
    assert [one.build_s for one in again.engines] == [None, None]
    assert machine.count(BUILD) == 2
    with start(bundle, device=device).engine as engine:  # and `run` takes it
        assert engine.variant == LADDER[0]
    assert machine.count(BUILD) == 2


def test_each_that_is_named_is_made_in_that_order(machine: Machine, bundle: Bundle, device: OnDevice) -> None:
    made = provision(bundle, ["fp32", "int8-trt"], device)
    assert [one.variant for one in made] == ["fp32", "int8-trt"]
    for one in made:
        assert one.reason == ""
        check_times(one)
    assert machine.count(BUILD) == 4


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["int8"], "variant 'int8' is made for CPUs, not for tensorrt"),
        (["fp16", "int9"], "no variant 'int9'"),
        (["fp16", "fp32", "fp16"], "expected different variants, got fp16, fp32, fp16"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_built(
    machine: Machine, bundle: Bundle, device: OnDevice, names: list[str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        provision(bundle, names, device)
    assert machine.count("Builder") == 0


def test_a_variant_that_cannot_be_built_is_told_and_the_next_one_made(
    machine: Machine, bundle: Bundle, device: OnDevice, lines: list[str]
) -> None:
    machine.faults.build_fails(["Error Code 2: OutOfMemory (no further information)"])
    failed, made = provision(bundle, None, device)
    assert (failed.variant, failed.engines, failed.check, failed.latency_ms) == (LADDER[0], (), None, {})
    assert "ran out of memory" in failed.reason
    assert "--workspace-mb" in failed.mend
    assert (made.variant, made.reason) == (LADDER[1], "")
    assert len(lines) == 1
    assert lines[0].startswith("warning: extractor.int8-fp16-trt: the builder ran out of memory")


@pytest.mark.parametrize("wrong", [{"scale": 1.5}, {"nan": True}])
def test_variants_that_judge_wrong_are_closed_and_not_timed(
    machine: Machine, bundle: Bundle, device: OnDevice, lines: list[str], wrong: dict[str, Any]
) -> None:
    machine.faults.wrong_numbers(**wrong)
    made = provision(bundle, None, device)
    assert [one.variant for one in made] == LADDER
    assert len(lines) == len(LADDER)
    for one in made:
        assert one.reason
        assert one.mend
        assert one.latency_ms == {}
        assert len(one.engines) == 2
        if "nan" in wrong:
            assert one.check is None
            assert "NaN" in one.reason
        else:
            assert one.check is not None
            assert one.check.status == "refused"
    machine.assert_clean()


def test_one_that_fails_is_made_again_when_the_fault_is_gone(
    machine: Machine, bundle: Bundle, device: OnDevice
) -> None:
    machine.faults.cuda_error_on("pagelocked_empty", "MemoryError")
    failed, made = provision(bundle, ["fp16", "fp32"], device)
    assert "out of memory" in failed.reason
    assert made.reason == ""
    (again,) = provision(bundle, ["fp16"], device)
    assert again.reason == ""


@pytest.mark.usefixtures("machine")
def test_a_bundle_without_golden_frames_is_timed_and_not_checked(tiny_bundle: Path, device: OnDevice) -> None:
    (made,) = provision(open_bundle(tiny_bundle), None, device)
    assert (made.variant, made.check, made.reason) == ("fp32", None, "")
    check_times(made)
    assert made.to_json()["golden"] is None


@pytest.mark.usefixtures("machine")
def test_an_engine_that_could_not_be_kept_says_so(
    bundle: Bundle, device: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise InputError("cannot write: No space left on device", mend="Make room")

    monkeypatch.setattr(EngineStore, "keep", full)
    (made,) = provision(bundle, None, device)
    assert made.reason == ""
    assert made.lost == "cannot write: No space left on device. Make room."
    check_times(made)


def test_without_cuda_bindings_the_record_says_that_kernels_are_launched_one_by_one(
    bundle: Bundle, device: OnDevice
) -> None:
    machine = Machine()
    with machine.installed(bindings=False):
        (made,) = provision(bundle, ["fp16"], device)
        machine.assert_clean()
    assert not made.recorded
    assert made.to_json()["cuda_graphs"] is False


@pytest.mark.parametrize("lacking", ["tensorrt", "pycuda"])
def test_what_is_missing_for_all_is_said_once(bundle: Bundle, device: OnDevice, lines: list[str], lacking: str) -> None:
    with (
        Machine().installed(**{lacking: False}),
        pytest.raises((EngineError, MissingExtraError), match="not installed"),
    ):
        provision(bundle, None, device)
    assert lines == []


@pytest.mark.parametrize("names", [None, ["fp32", "fp16"]])
def test_ctrl_c_ends_it_all(machine: Machine, bundle: Bundle, device: OnDevice, names: list[str] | None) -> None:
    if names:  # the first engine is ready
        provision(bundle, names[:1], device)
    before = machine.count(BUILD)
    machine.faults.cancel_after(5)
    with pytest.raises(KeyboardInterrupt):
        provision(bundle, names, device)
    machine.assert_clean()
    assert machine.count(BUILD) == before + 1


def test_ctrl_c_while_it_checks_or_times_frees_every_engine(
    machine: Machine, bundle: Bundle, device: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("check_golden", "_timed"):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, pressed)
            with pytest.raises(KeyboardInterrupt):
                provision(bundle, ["fp32", "fp16"], device)
        machine.assert_clean()


# The fastest first.

Slowed = Callable[[dict[str, float]], list[str]]


@pytest.fixture
def slowed(monkeypatch: pytest.MonkeyPatch) -> Slowed:
    """Give variants a latency in ms, on a clock that only they move; and who was timed, in order."""

    def apply(took: dict[str, float]) -> list[str]:
        now, order = [0.0], []
        infer = TensorRtEngine.infer

        def timed(self: TensorRtEngine, image: Image) -> RawMaps:
            order.append(self.variant)
            now[0] += took[self.variant] / 1e3
            return infer(self, image)

        monkeypatch.setattr(TensorRtEngine, "infer", timed)
        monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
        return order

    return apply


TOOK = {"int8-fp16-trt": 4.0, "int8-trt": 2.0, "fp16": 3.0, "fp32": 9.0}


def test_the_fastest_is_written_down_and_run_follows(
    machine: Machine, bundle: Bundle, device: OnDevice, lines: list[str], slowed: Slowed
) -> None:
    order = slowed(TOOK)
    made = provision(bundle, None, device, fastest=True)
    assert [one.variant for one in made] == LADDER
    assert {one.variant: one.latency_ms["total"]["p50"] for one in made} == pytest.approx(
        TOOK, rel=0.01
    )  # bins of a histogram
    # Interleaved, so that a board that warms up slows all of them: the last frames, one of each in turn.
    assert order[-8:] == LADDER + LADDER
    assert order.count("fp16") == 4 + 1 + 5  # golden frames, warm-up, timed
    fastest = ["int8-trt", "fp16", "int8-fp16-trt", "fp32"]
    assert lines == [f"fastest here: {', '.join(fastest)}; 'run' tries them in this order"]
    kept = find_ranking(device.cache or Path(), bundle.digest, device_facts(load_tensorrt(), open_gpu()))
    assert kept is not None
    assert list(kept.p50_ms) == fastest
    assert kept.p50_ms == pytest.approx(TOOK, rel=0.01)  # bins of a histogram
    builds = machine.count(BUILD)
    started = start(bundle, device=device)
    started.engine.close()
    assert started.engine.variant == "int8-trt"
    machine.faults.build_fails(times=-1)
    started = start(bundle, device=replace(device, rebuild=True), threads=1)
    started.engine.close()
    assert [name for name, _, _ in started.refused] == fastest
    assert machine.count(BUILD) == builds + 4


@pytest.mark.usefixtures("tiny_bundle")
def test_the_order_is_that_of_another_machine_or_bundle_no_more(
    bundle: Bundle, device: OnDevice, slowed: Slowed
) -> None:
    slowed(TOOK | {"fp32": 9.0})
    for machine, variant in ((Machine(), "int8-trt"), (Machine(name="Thor"), LADDER[0])):
        with machine.installed():
            if machine.name == "Orin":
                provision(bundle, None, device, fastest=True)
            with start(bundle, device=device).engine as engine:
                assert engine.variant == variant
            machine.assert_clean()


def test_of_those_named_the_fastest_comes_first_and_the_rest_by_precision(
    machine: Machine, bundle: Bundle, device: OnDevice, slowed: Slowed
) -> None:
    slowed(TOOK)
    provision(bundle, ["fp32", "fp16"], device, fastest=True)
    machine.faults.build_fails(times=-1)
    started = start(bundle, device=replace(device, rebuild=True), threads=1)
    started.engine.close()
    assert [name for name, _, _ in started.refused] == ["fp16", "fp32", "int8-fp16-trt", "int8-trt"]


def test_one_that_judges_wrong_is_in_no_order(
    machine: Machine, bundle: Bundle, device: OnDevice, slowed: Slowed, lines: list[str]
) -> None:
    slowed(TOOK)
    machine.faults.build_fails(times=1)  # of the first
    made = provision(bundle, None, device, fastest=True)
    assert [one.reason == "" for one in made] == [False, True, True, True]
    assert lines[-1] == "fastest here: int8-trt, fp16, fp32; 'run' tries them in this order"


def test_where_all_judge_wrong_no_order_is_written(
    machine: Machine, bundle: Bundle, device: OnDevice, lines: list[str]
) -> None:
    machine.faults.wrong_numbers(scale=2.0)
    provision(bundle, None, device, fastest=True)
    assert not any("fastest here" in line for line in lines)
    assert not list((device.cache or Path()).glob("rankings/*"))


@pytest.mark.usefixtures("machine")
def test_an_order_that_cannot_be_kept_is_a_warning(bundle: Bundle, device: OnDevice, lines: list[str]) -> None:
    (device.cache or Path()).mkdir()
    ((device.cache or Path()) / "rankings").write_text("a file in the way")
    made = provision(bundle, ["fp32", "fp16"], device, fastest=True)
    assert [one.reason for one in made] == ["", ""]
    assert lines[-1].startswith("warning: the order of variants could not be kept, 'run' goes on by precision: ")


@pytest.mark.usefixtures("machine")
def test_what_is_timed_is_not_one_picture_alone(
    bundle: Bundle, device: OnDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Image] = []
    infer = TensorRtEngine.infer

    def watched(self: TensorRtEngine, image: Image) -> RawMaps:
        seen.append(image)
        return infer(self, image)

    monkeypatch.setattr(TensorRtEngine, "infer", watched)
    provision(bundle, ["fp32"], device)
    timed = seen[-6:]
    assert not any(np.array_equal(one, other) for one, other in pairwise(timed))
