"""A machine with a GPU that is not there: simulators of tensorrt, pycuda.driver and cuda.bindings.driver.

A right program runs, and gets the numbers that ONNX Runtime gives. Where the real libraries crash, corrupt memory or
silently give wrong data, the simulators raise `Misuse`. Test equipment; nothing of the product imports it.

    machine.py      the machine: its facts, its calls, what was left behind
    installing.py   modules in sys.modules, and out again
    faults.py       what goes wrong on purpose
    driver.py       the rules of CUDA: contexts, streams, captures, frees
      memory.py     live allocations, by address
      streams.py    what is enqueued, recorded and captured
    pycuda_driver.py, cuda_bindings.py     two faces of the driver
    trt_names.py, trt_talking.py, trt_building.py, trt_running.py     TensorRT
      plan.py, computing.py                what a plan holds, and how it is computed
"""

from cudasim.machine import Machine
from cudasim.misuse import Misuse

__all__ = ["Machine", "Misuse"]
