"""Bundles on a GPU with TensorRT: right maps, the same maps, nothing built twice, nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from test_engine import resident_bytes

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.cuda.gpu import Gpu
from diffad_runtime.engines.base import Engine
from diffad_runtime.engines.choice import ladder, runnable
from diffad_runtime.engines.ondevice import OnDevice, Watcher
from diffad_runtime.engines.select import open_engine
from diffad_runtime.engines.tensorrt import TensorRtEngine
from diffad_runtime.geometry import to_input
from diffad_runtime.parity import FrameOutcome, check, compare
from diffad_runtime.rules import DecisionRules
from diffad_runtime.scoring import image_score
from diffad_runtime.selfcheck import check_golden
from diffad_runtime.startup import start
from diffad_runtime.tensorrt.opening import Opened, open_tensorrt

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.usefixtures("gpu")]

Make = Callable[..., Opened]


@pytest.fixture(scope="session")
def bundle(bundle_path: Path) -> Bundle:
    return open_bundle(bundle_path)


@pytest.fixture(scope="session")
def small(small_path: Path) -> Bundle:
    return open_bundle(small_path)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests that do not need an empty one: a bundle of full size takes minutes to build."""
    named = os.environ.get("DIFFAD_GPU_CACHE")
    return Path(named) if named else tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="session")
def fast(bundle: Bundle) -> str:
    """The variant that is tried first."""
    return ladder(bundle, "tensorrt")[0]


@pytest.fixture
def make(bundle: Bundle, fast: str, cache: Path) -> Iterator[Make]:
    made: list[Opened] = []

    def opened(folder: Path = cache, of: Bundle = bundle, **options: Any) -> Opened:
        variant = fast if of is bundle else ladder(of, "tensorrt")[0]
        made.append(open_tensorrt(of, variant, OnDevice(cache=folder, **options)))
        return made[-1]

    yield opened
    for one in made:
        one.engine.close()


@pytest.fixture
def engine(make: Make) -> TensorRtEngine:
    return make().engine


def picture(bundle: Bundle, number: int = 0) -> npt.NDArray[np.uint8]:
    side = bundle.manifest.input_size
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)


def outcomes(bundle: Bundle, engine: Engine) -> list[FrameOutcome]:
    rules, found = DecisionRules.of(bundle.manifest), []
    for frame in bundle.golden():
        anomaly = engine.infer(to_input(frame.image, engine.input_size)).anomaly
        score = image_score(anomaly, rules.image_score)
        found.append(FrameOutcome(anomaly, score, score > rules.image_threshold))
    return found


def test_every_variant_judges_as_torch_did_and_as_onnxruntime_does(bundle: Bundle, cache: Path) -> None:
    if not bundle.golden():
        pytest.skip("the bundle holds no golden frames")
    exact = next(name for name, one in bundle.manifest.variants.items() if one.precision == "fp32")
    with open_engine(bundle, "onnxruntime", exact) as reference:
        expected = outcomes(bundle, reference)
    for name in runnable(bundle, "tensorrt"):
        started = start(bundle, "tensorrt", name, device=OnDevice(cache=cache))
        with started.engine as engine:
            assert (engine.backend, engine.variant) == ("tensorrt", name)
            assert started.check is not None
            assert started.check.passed
            parity = compare(expected, outcomes(bundle, engine))
        print(f"{name}: map_max {parity.map_max:.3g}, map_mean {parity.map_mean:.3g}, score {parity.score_max:.3g}")
        check(parity, bundle.manifest.variants[name].precision, called=name)


def test_one_frame_gives_one_map(bundle: Bundle, make: Make, engine: TensorRtEngine) -> None:
    image = picture(bundle)
    first = engine.infer(image)
    for number in range(200):
        if number % 20 == 0:
            engine.infer(picture(bundle, 1 + number))  # what ran before must not show
        again = engine.infer(image)
        np.testing.assert_array_equal(again.anomaly, first.anomaly)
        np.testing.assert_array_equal(again.feature, first.feature)
    other = make().engine
    np.testing.assert_array_equal(other.infer(image).anomaly, first.anomaly)


@pytest.mark.usefixtures("driver")
def test_recorded_and_plain_give_the_same(
    bundle: Bundle, make: Make, engine: TensorRtEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.recorded
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cuda.bindings.driver", None)
        plain = make().engine
    assert not plain.recorded
    for number in range(5):
        image = picture(bundle, number)
        np.testing.assert_array_equal(engine.infer(image).anomaly, plain.infer(image).anomaly)


def test_times_of_the_stages(bundle: Bundle, engine: TensorRtEngine) -> None:
    image = picture(bundle)
    for _ in range(20):
        begun = time.perf_counter()
        maps = engine.infer(image)
        wall = 1e3 * (time.perf_counter() - begun)
        assert maps.extract_ms > 0
        assert maps.reconstruct_ms > 0
        assert maps.extract_ms + maps.reconstruct_ms < wall


def test_two_engines_and_four_threads(bundle: Bundle, make: Make, engine: TensorRtEngine) -> None:
    engines = [engine, make().engine]
    expected = [engine.infer(picture(bundle, number)).anomaly for number in range(4)]
    raised: list[BaseException] = []

    def judge(number: int) -> None:
        try:
            for _ in range(25):
                got = engines[number % 2].infer(picture(bundle, number)).anomaly
                np.testing.assert_array_equal(got, expected[number])
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised


def test_closed_twice_and_on_another_thread(make: Make) -> None:
    engine = make().engine
    thread = threading.Thread(target=engine.close)
    thread.start()
    thread.join()
    engine.close()


def test_memory_does_not_grow(gpu: Gpu, bundle: Bundle, make: Make, engine: TensorRtEngine) -> None:
    def free() -> int:
        with gpu.current():
            return int(gpu.cuda.mem_get_info()[0])

    image = picture(bundle)
    for _ in range(100):
        engine.infer(image)
    before, resident = free(), resident_bytes()
    for _ in range(2000):
        engine.infer(image)
    assert resident_bytes() - resident < 16 << 20
    if not gpu.facts.integrated:  # there, whatever else runs takes and gives as well
        assert before - free() < 16 << 20
    make().engine.close()
    opened = free()
    for _ in range(10):
        make().engine.close()
    assert opened - free() < (256 << 20 if gpu.facts.integrated else 16 << 20)


def test_what_is_in_the_cache_is_not_built_again(small: Bundle, make: Make, tmp_path: Path) -> None:
    first = make(tmp_path, small)
    assert all(one.build_s is not None for one in first.loaded)
    second = make(tmp_path, small)
    assert [one.build_s for one in second.loaded] == [None, None]
    assert [one.plan_bytes for one in second.loaded] == [one.plan_bytes for one in first.loaded]


def test_a_damaged_plan_is_built_anew_once(small: Bundle, make: Make, tmp_path: Path) -> None:
    make(tmp_path, small)
    plan = next((tmp_path / "engines").glob("extractor.*.plan"))
    damaged = bytearray(plan.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    plan.write_bytes(damaged)
    told: list[str] = []
    again = make(tmp_path, small, watcher=Watcher(warn=told.append))
    assert [one.build_s is not None for one in again.loaded] == [True, False]
    assert len(told) == 1
    assert "built anew" in told[0]
    assert [one.build_s for one in make(tmp_path, small).loaded] == [None, None]
    if small.golden():
        assert check_golden(small, again.engine).passed


def test_a_plan_that_tensorrt_refuses_is_built_anew_once(small: Bundle, make: Make, tmp_path: Path) -> None:
    """Its hash is right, so that it is TensorRT that must say no."""
    make(tmp_path, small)
    plan = next((tmp_path / "engines").glob("reconstructor.*.plan"))
    plan.write_bytes(plan.read_bytes()[:-4096])
    side = plan.with_suffix(".json")
    record = json.loads(side.read_text())
    record |= {"plan_sha256": sha256(plan.read_bytes()).hexdigest(), "plan_bytes": plan.stat().st_size}
    side.write_text(json.dumps(record))
    told: list[str] = []
    again = make(tmp_path, small, watcher=Watcher(warn=told.append))
    assert [one.build_s is not None for one in again.loaded] == [False, True]
    assert len(told) == 1
    assert [one.build_s for one in make(tmp_path, small).loaded] == [None, None]


@pytest.mark.parametrize("how", ["Ctrl-C", "the watcher"])
def test_a_cancelled_build_leaves_nothing(small: Bundle, make: Make, tmp_path: Path, how: str) -> None:
    stopped = threading.Event()

    def progress(_: str, done: int, total: int) -> None:
        if 0 < done < total and not stopped.is_set():
            stopped.set()
            if how == "Ctrl-C":
                os.kill(os.getpid(), signal.SIGINT)

    watcher = Watcher(progress=progress, cancelled=lambda: how == "the watcher" and stopped.is_set())
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, small, watcher=watcher)
    assert stopped.is_set()
    assert [path.name for path in (tmp_path / "engines").iterdir()] == []
    assert all(one.build_s is not None for one in make(tmp_path, small).loaded)


def command(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "diffad_edge", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_by_command_line(bundle: Bundle, fast: str, cache: Path) -> None:
    model, engines = str(bundle.path), ("--cache", str(cache))
    built = command("build", model, "--variant", fast, *engines)
    assert built["ok"]
    assert built["variants"][fast]["latency_ms"]["total"]["p50"] > 0
    kept = command("status", *engines)["engines"]
    assert {"extractor", "reconstructor"} <= {one["about"]["graph"] for one in kept}
    assert not [one["fault"] for one in kept if one["fault"]]
    camera = ("--camera", "synthetic://line?fps=30", "--max-frames", "20")
    ran = command("run", model, *camera, "--backend", "tensorrt", "--variant", fast, *engines)
    assert (ran["backend"], ran["variant"]) == ("tensorrt", fast)
    timed = command("bench", model, "--backend", "tensorrt", "--variant", fast, "--frames", "20", *engines)
    assert timed["backend"] == "tensorrt"
