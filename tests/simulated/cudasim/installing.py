"""The simulated modules in place of the real ones, and out again.

Knows sys.modules and what the product keeps of modules. Does not know what is in them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cudasim.cuda_bindings import make_cuda_bindings
from cudasim.pycuda_driver import make_pycuda_driver
from cudasim.trt_module import make_tensorrt

if TYPE_CHECKING:
    from cudasim.machine import Machine

_ROOTS = ("tensorrt", "pycuda", "cuda")


class _Finder(MetaPathFinder):
    """Whatever is imported below our roots is ours or is not there."""

    def __init__(self, machine: "Machine") -> None:
        self._machine = machine

    def find_spec(self, fullname: str, *_: object) -> Any:
        if fullname == "pycuda.autoinit" and "pycuda" in sys.modules:
            raise self._machine.misuse("pycuda.autoinit makes a context of its own and leaves it current")
        if fullname.partition(".")[0] in _ROOTS:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


@contextmanager
def installed(machine: "Machine", *, tensorrt: bool, pycuda: bool, bindings: bool) -> Iterator[None]:
    """Modules of a machine can be imported while the block runs, and none of the same names that are really there."""
    forget(machine)
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in _ROOTS}
    for name in before:
        del sys.modules[name]
    made: dict[str, ModuleType] = {}
    if tensorrt:
        made["tensorrt"] = make_tensorrt(machine)
    if pycuda:
        made["pycuda"] = _package("pycuda")
        made["pycuda.driver"] = made["pycuda"].driver = make_pycuda_driver(machine)
    if bindings:
        made["cuda"], made["cuda.bindings"] = _package("cuda"), _package("cuda.bindings")
        made["cuda"].bindings = made["cuda.bindings"]
        made["cuda.bindings.driver"] = made["cuda.bindings"].driver = make_cuda_bindings(machine)
    finder = _Finder(machine)
    sys.modules.update(made)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        forget(machine)
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in _ROOTS]:
            del sys.modules[name]
        sys.modules.update(before)


def forget(machine: "Machine") -> None:
    """What the product keeps for a whole process: its GPU, and a logger for each module."""
    gpu = sys.modules.get("diffad_runtime.cuda.gpu")
    if gpu is not None:
        with machine.driver.put_away():
            gpu.release()
    log = sys.modules.get("diffad_runtime.tensorrt.log")
    if log is not None:
        for module in [one for one in log._loggers if getattr(one, "_simulated", False)]:
            del log._loggers[module]
    machine.logger = None


def _package(name: str) -> ModuleType:
    module: Any = ModuleType(name)
    module.__path__ = []
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    return module
