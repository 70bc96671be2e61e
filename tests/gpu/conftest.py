"""What tests on a GPU need, and how they say that it is not there.

Knows the first GPU, TensorRT, and the bundle to run. Every test of this folder that touches a GPU is marked `gpu` and
asks for one of these fixtures, so that elsewhere it is skipped with the reason. run.sh runs them all.

    DIFFAD_GPU_BUNDLE   a .diffad file to run in place of the hand-made one
    DIFFAD_GPU_CACHE    a folder to keep its engines in
"""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from diffad_runtime.cuda.gpu import Gpu, open_gpu
from diffad_runtime.errors import DiffadError

# What several files here share lies beside them, and programs that they start find it too.
sys.path.insert(0, str(Path(__file__).parent))

SIMULATED = bool(os.environ.get("SIM_CUDA_REPORT"))
"""Whether the driver is that of tests/gpu/driver."""


@pytest.fixture(scope="session")
def opened() -> Gpu:
    try:
        return open_gpu()
    except DiffadError as error:
        pytest.skip(f"no GPU through pycuda: {error.what}")


@pytest.fixture
def gpu(opened: Gpu) -> Iterator[Gpu]:
    """The first GPU. A test leaves no context current on its thread."""
    yield opened
    assert opened.cuda.Context.get_current() is None


@pytest.fixture(scope="session")
def driver() -> Any:
    """The module cuda.bindings.driver, and a driver that answers."""
    try:
        module = import_module("cuda.bindings.driver")
    except ImportError:
        pytest.skip("no cuda-bindings")
    try:
        (status,) = module.cuInit(0)
    except RuntimeError as error:  # no libcuda.so.1
        pytest.skip(f"no driver for cuda-bindings: {error}")
    if status != module.CUresult.CUDA_SUCCESS:
        pytest.skip(f"no GPU through cuda-bindings: {status.name}")
    return module


@pytest.fixture(scope="session")
def trt(opened: Gpu) -> Any:  # noqa: ARG001  without a GPU TensorRT is of no use
    """The module tensorrt."""
    from diffad_runtime.tensorrt.library import load_tensorrt

    try:
        return load_tensorrt()
    except DiffadError as error:
        pytest.skip(f"no TensorRT: {error.what}")


@pytest.fixture(scope="session")
def small_path(trt: Any, request: pytest.FixtureRequest) -> Path:  # noqa: ARG001  nothing is made where nothing runs
    """A bundle with golden frames whose engines are built in no time; where onnx is missing, the named one."""
    named = os.environ.get("DIFFAD_GPU_BUNDLE")
    if named and find_spec("onnx") is None:
        return Path(named)
    pytest.importorskip("onnx", reason="the hand-made bundle needs onnx; or name one in DIFFAD_GPU_BUNDLE")
    path: Path = request.getfixturevalue("golden_bundle")
    return path


@pytest.fixture(scope="session")
def bundle_path(small_path: Path) -> Path:
    """The bundle to run."""
    named = os.environ.get("DIFFAD_GPU_BUNDLE")
    return Path(named) if named else small_path
