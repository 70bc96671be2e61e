"""A guess of the memory that it takes to build a bundle's engines on a board, and to run them. A GUESS throughout.

Knows sizes in bytes and the assumptions below. Does not know ONNX, nor time.

Assumed, in MiB, CPU and GPU together as on a Jetson they share:

- CUDA context 100 to 350 [D]: builders' own "Init CUDA" lines in public issue threads.
- TensorRT and its builder's kernels 300 to 1300 [D]: "Init builder kernel library" there, JetPack 5 to 7, 0.26 to 1.2
  GB. To run an engine: 100 to 400 [I].
- Python with this package 150 to 300 [I].
- Building holds each graph's weights in float32 three to five times [I]: parsed, the builder's copy, the candidate that
  is timed, the plan; and the activations of one run once or twice. Graphs are built one after another.
- Workspace: 64 MiB, up to the limit that `build` would set on a board with as much memory free as is guessed below.
- A plan is the weights in their precision and 15 to 60 KB a kernel: TensorRT-RTX's plans for the bundle of
  `diffad-edge demo` have 19 to 58 KB, Ultralytics' YOLO11 engines for Orin 15 to 40 KB.
- The board: 93 % of its memory is there for programs [D] (7.4 of 8 GiB on Orin Nano), of which the system takes 1.0 GiB
  without a desktop, 2.5 with one [I].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from diffad_calibration.roofline.boards import Board
from diffad_calibration.roofline.estimate import Span
from diffad_calibration.roofline.work import GraphWork
from diffad_runtime.tensorrt.building import BuildOptions, workspace_bytes

_MIB = 1 << 20
_CONTEXT = Span(100, 350)
_BUILDER = Span(300, 1300)
_RUNTIME = Span(100, 400)
_PYTHON = Span(150, 300)
_WEIGHTS = Span(3, 5)
_ACTIVATIONS = Span(1, 2)
_LEAST_WORKSPACE = 64.0
_KERNEL_BYTES = Span(15e3, 60e3)
_VISIBLE = 0.93
_SYSTEM = Span(1.0 * 1024, 2.5 * 1024)
FITS: Final = {True: "fits", False: "does not fit", None: "tight"}


@dataclass(frozen=True, slots=True)
class MemoryGuess:
    """All in MiB, all guessed.

    Attributes:
        plan_mb: both plans together, as files.
        build_mb: at the peak of building.
        run_mb: while frames are judged.
        free_mb: of the board's memory, what a program may count on.
    """

    plan_mb: Span
    build_mb: Span
    run_mb: Span
    free_mb: Span

    @property
    def fits(self) -> bool | None:
        """Whether building fits the board: True, False, or None where the ranges overlap."""
        if self.build_mb.high <= self.free_mb.low:
            return True
        return False if self.build_mb.low > self.free_mb.high else None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        spans = {name: getattr(self, name).to_json() for name in ("plan_mb", "build_mb", "run_mb", "free_mb")}
        return {"estimate": True, **spans, "build": FITS[self.fits]}


def guess_memory(works: Sequence[GraphWork], board: Board) -> MemoryGuess:
    """Of a variant's graphs on a board."""
    visible = 1024 * board.memory_gb * _VISIBLE
    free = Span(visible - _SYSTEM.high, visible - _SYSTEM.low)
    plan = sum((plan_mib(work) for work in works), Span(0, 0))
    building = [_building(work) for work in works]
    largest = Span(max(one.low for one in building), max(one.high for one in building))
    workspace = Span(_LEAST_WORKSPACE, workspace_bytes(BuildOptions(), int(free.high * _MIB)) / _MIB)
    live = sum(work.live for work in works) / _MIB
    return MemoryGuess(
        plan_mb=plan,
        build_mb=_CONTEXT + _BUILDER + _PYTHON + largest + workspace,
        # At the high end the file's bytes are still held beside what went to the GPU.
        run_mb=_CONTEXT + _RUNTIME + _PYTHON + plan + Span(live, live + plan.high),
        free_mb=free,
    )


def plan_mib(work: GraphWork) -> Span:
    """Size of a serialised engine."""
    fewest, most = work.launches
    return Span(
        (work.weights + fewest * _KERNEL_BYTES.low) / _MIB,
        (work.weights + most * _KERNEL_BYTES.high) / _MIB,
    )


def _building(work: GraphWork) -> Span:
    weights, live = work.float_weights / _MIB, work.live / _MIB
    return Span(_WEIGHTS.low * weights + _ACTIVATIONS.low * live, _WEIGHTS.high * weights + _ACTIVATIONS.high * live)
