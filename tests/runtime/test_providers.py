"""ONNX Runtime's providers: what is asked for, and that nobody runs on another one unawares."""

from pathlib import Path

import pytest

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
from diffad_runtime.engines.providers import CPU, Provider, available, provider_of
from diffad_runtime.errors import EngineError


@pytest.fixture(scope="module")
def bundle(golden_bundle: Path) -> Bundle:
    return open_bundle(golden_bundle)


def test_the_cpu_is_there_and_needs_no_options(tmp_path: Path) -> None:
    assert available("onnxruntime").startswith("onnxruntime 1.")
    assert provider_of("onnxruntime", "int8", tmp_path).chain() == [(CPU, {})]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-fp16"])
def test_options_follow_the_precision(tmp_path: Path, precision: str) -> None:
    cuda = provider_of("onnxruntime-cuda", precision, tmp_path)
    assert cuda.chain() == [
        ("CUDAExecutionProvider", {"use_tf32": "0" if precision == "fp32" else "1"}),
        (CPU, {}),
    ]
    rt = provider_of("onnxruntime-tensorrt", precision, tmp_path)
    assert rt.name == "TensorrtExecutionProvider"
    assert rt.options["trt_fp16_enable"] == str(precision in {"fp16", "int8-fp16"})
    assert rt.options["trt_int8_enable"] == str(precision in {"int8", "int8-fp16"})
    assert rt.options["trt_engine_cache_path"] == str(tmp_path / "onnxruntime-tensorrt")


def test_an_engine_names_its_backend(bundle: Bundle) -> None:
    with OnnxRuntimeEngine(
        *bundle.graphs("fp32"), input_size=64, variant="fp32", threads=1, provider=Provider("another name")
    ) as engine:
        assert engine.backend == "another name"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_fall_back_to_the_cpu_is_an_error(bundle: Bundle) -> None:
    """onnxruntime warns of a provider that it cannot use, and runs on the CPU."""
    with pytest.raises(EngineError, match=r"CUDAExecutionProvider does not work here, it fell back to CPU.*--backend"):
        OnnxRuntimeEngine(
            *bundle.graphs("fp32"),
            input_size=64,
            variant="fp32",
            threads=1,
            provider=Provider("onnxruntime-cuda", "CUDAExecutionProvider"),
        )
