"""The roofline: how long a graph's kernels might take on a board, as a range. An ESTIMATE; only the board can measure.

Knows operations, bytes and peaks. Does not know ONNX, nor memory sizes (memory.py).

    time of a kernel = max(sum of operations / (efficiency x their peak), bytes / (efficiency x bandwidth)) + launch

A roofline says what cannot be beaten, not what is reached, so every peak is taken down by an efficiency that is itself
a range; the fast end of all ranges gives the low time, the slow end the high one. At the slow end a convolution around
INT8 is two kernels (work.py, `apart`).

Assumed, and where from:

- FP16 10 to 35 %, INT8 8 to 25 % of the tensor cores' peak [I], from whole networks; TF32 as FP16 [I]. Published
  figures as shares of the table's peaks: YOLOv8n at 640 px (8.7 GFLOP) on an Orin Nano 8 GB, FP16 7.3 ms: 12 %, INT8
  5.8 ms: 7.5 %; YOLOv8m (78.9) 23.6 ms: 33 % and 17.1 ms: 23 %. The one outside, by half a point, is a small network of
  at least 64 kernels whose launches are in the time: with them the range holds it.
- YOLO11 n, s, m, l, x (6.5, 21.5, 68.0, 86.9, 194.9 GFLOP) on an Orin Nano Super, Ultralytics' Jetson guide: FP16
  4.91, 7.30, 13.99, 17.57, 32.94 ms: 8, 18, 29, 30, 35 %; INT8 3.91, 5.25, 9.58, 12.37, 20.72 ms: 5, 12, 21, 21, 28 %.
  "FP32" 7.60, 13.29, 28.21, 35.59, 67.32 ms: up to 2.9 TFLOPS where CUDA cores have 2.1 at most, so it ran as TF32;
  10, 19, 29, 29, 35 % of half the FP16 peak.
- FP32 as it is, on CUDA cores, 25 to 70 % [I]: their peak is an eighth of FP16's on tensor cores and as many bytes feed
  it, so more of it is reached. `build` switches TF32 off for the variant fp32 and leaves it on for the others.
- CUDA cores in all else, depthwise convolutions above all, 10 to 35 % [I]; memory 50 to 80 % of the bandwidth [I];
  3 to 10 microseconds for each kernel [I], with a captured CUDA graph near the low end, with plain launches from a
  Jetson's CPU near the high one.

These shares hold whatever launches and memory cost those networks, so the slow end counts some of it twice. Caches are
not modelled: small activations stay in them, and a layer bound by memory may be faster than its low time.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from diffad_calibration.roofline.boards import Board
from diffad_calibration.roofline.work import RATES, GraphWork, Kernel
from diffad_runtime.errors import InputError

TERMS = ("compute", "memory", "launch")


@dataclass(frozen=True, slots=True)
class Span:
    """A range, low <= high."""

    low: float
    high: float

    def __add__(self, other: "Span") -> "Span":
        return Span(self.low + other.low, self.high + other.high)

    def to_json(self) -> dict[str, float]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Shares of the peaks that are reached (0 to 1), and microseconds a kernel costs beside its work."""

    int8: Span = Span(0.08, 0.25)
    fp16: Span = Span(0.10, 0.35)
    tf32: Span = Span(0.10, 0.35)
    fp32: Span = Span(0.25, 0.70)
    cuda: Span = Span(0.10, 0.35)
    memory: Span = Span(0.50, 0.80)
    launch_us: Span = Span(3.0, 10.0)

    def __post_init__(self) -> None:
        for name in (*RATES, "memory"):
            share: Span = getattr(self, name)
            if not 0 < share.low <= share.high <= 1:
                raise InputError(
                    f"an efficiency of {share.low} to {share.high} for {name}", mend="Give shares above 0, up to 1"
                )
        if not 0 <= self.launch_us.low <= self.launch_us.high:
            raise InputError(
                f"launches of {self.launch_us.low} to {self.launch_us.high} microseconds", mend="Give none below 0"
            )

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """One kernel on one board.

    Attributes:
        kernel: its work.
        ms: estimated time.
        compute_ms, memory_ms, launch_ms: its terms; the larger of the first two counts.
    """

    kernel: Kernel
    ms: Span
    compute_ms: Span
    memory_ms: Span
    launch_ms: Span

    @property
    def bound(self) -> str:
        """The largest of "compute", "memory" and "launch"; two words where the ends of the range differ."""
        ends = [
            max(TERMS, key=lambda term: getattr(getattr(self, f"{term}_ms"), end)) for end in ("low", "high")
        ]  # of equal terms the first
        return " or ".join(dict.fromkeys(ends))

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        terms = {f"{term}_ms": getattr(self, f"{term}_ms").to_json() for term in TERMS}
        return {"estimate": True, "ms": self.ms.to_json(), "bound": self.bound} | terms | self.kernel.to_json()


@dataclass(frozen=True, slots=True)
class GraphEstimate:
    """One graph on one board."""

    work: GraphWork
    layers: tuple[LayerEstimate, ...]
    ms: Span = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ms", sum((layer.ms for layer in self.layers), Span(0.0, 0.0)))

    @property
    def shares(self) -> dict[str, float]:
        """Shares of the time, mean of both ends, 0 to 1: compute, memory (the larger of both counts), launches."""
        return shares_of(self.layers)

    def to_json(self) -> dict[str, Any]:
        """JSON values, without the layers."""
        return {
            "estimate": True,
            "gop": self.work.total / 1e9,
            "mb_moved": Span(*self.work.moved).to_json(),
            "kernels": Span(*self.work.launches).to_json(),
            "ms": self.ms.to_json(),
            "frames_per_second": frames_per_second(self.ms).to_json(),
            "shares": self.shares,
            "guessed_operators": list(self.work.guessed),
        }


def estimate_graph(work: GraphWork, board: Board, assumptions: Assumptions) -> GraphEstimate:
    """A graph's kernels one after another."""
    return GraphEstimate(work, tuple(estimate_kernel(kernel, board, assumptions) for kernel in work.kernels))


def estimate_kernel(kernel: Kernel, board: Board, assumptions: Assumptions) -> LayerEstimate:
    """The formula at the head of this file."""

    def compute_ms(end: str) -> float:
        # 1e12 operations a second are 1e9 a millisecond.
        reached = {rate: 1e9 * board.peak(rate) * getattr(getattr(assumptions, rate), end) for rate in RATES}
        return float(sum(count / reached[rate] for rate, count in kernel.operations.items()))

    def memory_ms(count: int, share: float) -> float:
        return count / (1e6 * board.gb_per_s * share)

    least, most = kernel.launches
    compute = Span(compute_ms("high"), compute_ms("low"))
    memory = Span(
        memory_ms(kernel.moved, assumptions.memory.high),
        memory_ms(kernel.moved + kernel.apart, assumptions.memory.low),
    )
    launch = Span(least * assumptions.launch_us.low / 1e3, most * assumptions.launch_us.high / 1e3)
    roof = Span(max(compute.low, memory.low), max(compute.high, memory.high))
    return LayerEstimate(kernel, roof + launch, compute, memory, launch)


def frames_per_second(ms: Span) -> Span:
    """Frames one after another, the GPU's part alone; nothing to do takes no time and has no rate: infinite."""
    return Span(*(1e3 / time if time > 0 else float("inf") for time in (ms.high, ms.low)))


def shares_of(layers: Sequence[LayerEstimate]) -> dict[str, float]:
    """Shares of the time of these layers, mean of both ends; all 0.0 where they take none."""
    total = dict.fromkeys(TERMS, 0.0)
    for end in ("low", "high"):
        times = dict.fromkeys(TERMS, 0.0)
        for layer in layers:
            compute, memory = getattr(layer.compute_ms, end), getattr(layer.memory_ms, end)
            times["compute" if compute >= memory else "memory"] += max(compute, memory)
            times["launch"] += getattr(layer.launch_ms, end)
        whole = sum(times.values())
        for term, time in times.items():
            total[term] += time / whole / 2 if whole else 0.0
    return total
