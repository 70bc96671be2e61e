"""What a profile found, as plain data and as JSON.

Knows how shares and rates follow from times and operations. Does not know how either was measured.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class OperatorShare:
    """All nodes of one type in one graph.

    Attributes:
        operator: type, as onnxruntime runs it.
        calls: nodes a frame.
        ms: time a frame, median over frames, with the profiler running.
        share: of the graph's node time, 0 to 1.
    """

    operator: str
    calls: int
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class ConvolutionFigures:
    """The convolutions of one number format in one graph.

    Attributes:
        count: nodes in the optimised graph.
        gop: 1e9 operations a frame, a multiply-add counts as two.
        ms: time a frame, the profiler's own share taken out.
        peak: GOP/s of this processor, None where it was not measured.
    """

    count: int
    gop: float
    ms: float
    peak: float | None

    @property
    def rate(self) -> float | None:
        """GOP/s, None without any."""
        return 1e3 * self.gop / self.ms if self.count and self.ms > 0 else None

    @property
    def share_of_peak(self) -> float | None:
        """0 to 1, None where either is unknown."""
        return self.rate / self.peak if self.rate is not None and self.peak else None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "count": self.count,
            "gop": self.gop,
            "ms": self.ms,
            "gop_per_s": self.rate,
            "share_of_peak": self.share_of_peak,
        }


@dataclass(frozen=True, slots=True)
class GraphProfile:
    """One graph of one variant.

    Attributes:
        graph: "extractor" or "reconstructor".
        wall_ms: a run without profiler, median.
        nodes_ms: sum of all nodes with profiler, median.
        operators: by time, largest first.
        int8, fp32: convolutions by number format.
        float_names: of the convolutions that run in float.
    """

    graph: str
    wall_ms: float
    nodes_ms: float
    operators: tuple[OperatorShare, ...]
    int8: ConvolutionFigures
    fp32: ConvolutionFigures
    float_names: tuple[str, ...]

    @property
    def disturbance(self) -> float:
        """Node times over the wall time without profiler, minus 1; below 0 where time passes between the nodes."""
        return self.nodes_ms / self.wall_ms - 1

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "wall_ms": self.wall_ms,
            "nodes_ms": self.nodes_ms,
            "disturbance": self.disturbance,
            "operators": [
                {"operator": one.operator, "calls": one.calls, "ms": one.ms, "share": one.share}
                for one in self.operators
            ],
            "int8_convolutions": self.int8.to_json(),
            "float_convolutions": self.fp32.to_json() | {"names": list(self.float_names)},
        }


@dataclass(frozen=True, slots=True)
class Peak:
    """The fastest convolution found, as a stand-in for what the processor can do.

    Attributes:
        gop_per_s: median.
        shape: as in "3 x 3, 256 -> 256, 32 x 32".
    """

    gop_per_s: float
    shape: str


@dataclass(frozen=True, slots=True)
class BundleProfile:
    """All graphs of all variants.

    Attributes:
        variants: name -> its graphs, extractor first.
        peaks: "int8" and "fp32".
        frames: runs behind every median.
        threads: of every session.
    """

    variants: dict[str, tuple[GraphProfile, ...]]
    peaks: dict[str, Peak]
    frames: int
    threads: int

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "variants": {
                name: {graph.graph: graph.to_json() for graph in graphs} for name, graphs in self.variants.items()
            },
            "peak_gop_per_s": {name: peak.gop_per_s for name, peak in self.peaks.items()},
            "peak_shapes": {name: peak.shape for name, peak in self.peaks.items()},
            "frames": self.frames,
            "threads": self.threads,
        }
