"""Which engine a bundle starts on: in which order variants are tried, what is refused, and who is told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.engines import choice
from diffad_runtime.engines.base import Engine, Ran
from diffad_runtime.engines.choice import Choice, choose, ladder
from diffad_runtime.engines.ondevice import OnDevice, Watcher
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import EngineError, GateError, InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.result import Image
from diffad_runtime.startup import start


@pytest.fixture(scope="module")
def bundle(golden_bundle: Path) -> Bundle:
    return open_bundle(golden_bundle)


class Off(Engine):
    """An engine whose map is another one's times a factor."""

    def __init__(self, engine: Engine, factor: float) -> None:
        self._engine, self._factor = engine, factor
        self.backend, self.variant, self.input_size = engine.backend, engine.variant, engine.input_size
        self.closed = 0

    def _infer(self, image: Image) -> Ran:
        ran = self._engine._infer(image)
        maps = {name: np.asarray(one * self._factor, np.float32) for name, one in ran.maps.items()}
        return Ran(maps, ran.extract_ms, ran.reconstruct_ms)

    def close(self) -> None:
        self.closed += 1
        self._engine.close()


Faulty = Callable[[dict[str, object]], tuple[list[str], "list[Off]"]]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """Give variants a fault: a factor on their map, or a text with which they cannot be made."""

    def apply(faults: dict[str, object]) -> tuple[list[str], list[Off]]:
        tried: list[str] = []
        made: list[Off] = []
        measured = faults.pop("measured", ())

        def opened(bundle: Bundle, backend: str, name: str, *_: object, **__: object) -> Engine:
            tried.append(f"{name} on {backend}")
            fault = faults.get(name, 1.0)
            if isinstance(fault, str):
                raise EngineError(fault, mend="Do something")
            # The same graphs stand behind every name, so any backend may be played by this one.
            engine = open_engine(bundle, "onnxruntime", name, 1, foreign=True)
            made.append(Off(engine, fault))
            return made[-1]

        monkeypatch.setattr("diffad_runtime.startup.open_engine", opened)
        monkeypatch.setattr("diffad_runtime.startup.ask", str)
        monkeypatch.setattr("diffad_runtime.tensorrt.opening.measured_order", lambda *_: list(measured))  # type: ignore[call-overload]
        return tried, made

    return apply


class Told:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    @property
    def device(self) -> OnDevice:
        return OnDevice(watcher=Watcher(note=self.notes.append, warn=self.warnings.append))


def test_the_default_on_a_cpu_passes_and_is_told_with_the_reason(bundle: Bundle) -> None:
    told = Told()
    started = start(bundle, device=told.device)
    with started.engine as engine:
        assert (engine.backend, engine.variant) == ("onnxruntime", "int8")
    assert started.check is not None
    assert started.check.passed
    assert started.refused == ()
    assert told.warnings == []
    assert told.notes == [
        "engine: onnxruntime, variant 'int8' (TensorRT is not installed: no Python module 'tensorrt')"
    ]


def test_the_next_precision_is_tried_where_one_is_refused_or_fails(bundle: Bundle, faulty: Faulty) -> None:
    tried, made = faulty({"int8-fp16-trt": 3.0, "int8-trt": "out of memory", "fp16": float("nan")})
    told = Told()
    started = start(bundle, "tensorrt", device=told.device)
    assert tried == ["int8-fp16-trt on tensorrt", "int8-trt on tensorrt", "fp16 on tensorrt", "fp32 on tensorrt"]
    assert started.engine is made[-1]
    assert [one.closed for one in made] == [1, 1, 0]
    assert [(name, backend) for name, backend, _ in started.refused] == [
        ("int8-fp16-trt", "tensorrt"), ("int8-trt", "tensorrt"), ("fp16", "tensorrt"),
    ]  # fmt: skip
    refused, failed, nan = told.warnings
    assert "does not judge the golden frames as torch does" in refused
    assert refused.endswith("next: variant 'int8-trt' on tensorrt")
    assert failed == "out of memory; next: variant 'fp16' on tensorrt"
    assert "NaN" in nan
    assert told.notes == ["engine: tensorrt, variant 'fp32' (as asked for)"]
    started.engine.close()


def test_what_was_measured_on_the_device_comes_first(bundle: Bundle, faulty: Faulty) -> None:
    tried, _ = faulty({"measured": ("fp16", "gone", "fp32"), "fp16": "no", "fp32": "no", "int8-fp16-trt": "no"})
    start(bundle, "tensorrt").engine.close()
    assert tried == [f"{name} on tensorrt" for name in ("fp16", "fp32", "int8-fp16-trt", "int8-trt")]


def test_auto_goes_on_to_the_cpu_where_tensorrt_gives_nothing(
    bundle: Bundle, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("diffad_runtime.startup.choose", lambda *_: Choice("tensorrt", "it is there"))
    tried, _ = faulty(dict.fromkeys(("int8-fp16-trt", "int8-trt", "fp16"), "broken") | {"fp32": "broken"})
    told = Told()
    started = start(bundle, device=told.device)
    started.engine.close()
    assert tried[3:] == ["fp32 on tensorrt", "int8 on onnxruntime"]
    assert started.choice.backend == "onnxruntime"
    assert told.notes == ["engine: onnxruntime, variant 'int8' (no variant works on tensorrt)"]


def test_where_nothing_is_right_the_last_reason_is_the_error(bundle: Bundle, faulty: Faulty) -> None:
    _, made = faulty({"int8": 2.0, "fp32": 2.0})
    with pytest.raises(GateError, match="variant 'fp32' on onnxruntime does not judge the golden frames"):
        start(bundle, "onnxruntime")
    assert [one.closed for one in made] == [1, 1]
    faulty({"int8": "no", "fp32": "neither"})
    with pytest.raises(EngineError, match="neither"):
        Inspector.open(bundle.path, "onnxruntime")


def test_a_variant_that_was_named_is_the_only_one(bundle: Bundle, faulty: Faulty) -> None:
    tried, _ = faulty({"int8": 2.0})
    with pytest.raises(GateError):
        start(bundle, "onnxruntime", "int8")
    assert tried == ["int8 on onnxruntime"]


def test_a_bundle_without_golden_frames_says_so(tiny_bundle: Path) -> None:
    told = Told()
    started = start(open_bundle(tiny_bundle), device=told.device)
    started.engine.close()
    assert started.check is None
    assert told.warnings == ["the bundle has no golden frames, so its answers on this machine were not checked"]


def test_ctrl_c_closes_the_engine(bundle: Bundle, faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = faulty({})

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffad_runtime.startup.check_golden", pressed)
    with pytest.raises(KeyboardInterrupt):
        start(bundle, "onnxruntime")
    assert [one.closed for one in made] == [1]


def test_the_order_of_precisions(bundle: Bundle) -> None:
    assert ladder(bundle, "tensorrt") == ["int8-fp16-trt", "int8-trt", "fp16", "fp32"]
    assert ladder(bundle, "onnxruntime-tensorrt") == ladder(bundle, "tensorrt")
    assert ladder(bundle, "onnxruntime") == ["int8", "fp32"]
    assert ladder(bundle, "onnxruntime-cuda") == ["fp16", "fp32"]


def test_auto_without_tensorrt(bundle: Bundle) -> None:
    assert choose(bundle) == Choice("onnxruntime", "TensorRT is not installed: no Python module 'tensorrt'")
    assert choose(bundle, variant="int8").why == "variant 'int8' is made for CPUs"
    assert choose(bundle, "tensorrt").backend == "tensorrt"
    with pytest.raises(InputError, match="no variant 'int9'"):
        choose(bundle, variant="int9")
    with pytest.raises(InputError, match="unknown backend 'cuda'"):
        choose(bundle, "cuda")


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_providers_that_this_onnxruntime_lacks(bundle: Bundle, backend: str) -> None:
    with pytest.raises(EngineError, match=r"has no (CUDA|Tensorrt)ExecutionProvider.*onnxruntime-gpu"):
        open_engine(bundle, backend)


def test_names_of_backends_are_those_of_the_command_line() -> None:
    from diffad_edge.cli.arguments import Backend

    assert {one.value for one in Backend} == set(choice.BACKENDS)


def test_a_backend_that_is_not_there_is_said_once(bundle: Bundle) -> None:
    told = Told()
    with pytest.raises(EngineError, match="TensorRT is not installed"):
        start(bundle, "tensorrt", device=told.device)
    assert told.warnings == told.notes == []
