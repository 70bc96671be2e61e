"""The profile of a bundle: every graph of its variants and the peaks, in interleaved rounds.

Knows the order of measuring and which median goes where. Traces, operations and peaks have sibling files.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np

from diffad_calibration.profile.figures import BundleProfile, ConvolutionFigures, GraphProfile, OperatorShare, Peak
from diffad_calibration.profile.peak import SHAPES, fastest
from diffad_calibration.profile.trace import TracedGraph
from diffad_calibration.profile.work import FLOAT_CONVOLUTIONS, INT8_CONVOLUTIONS, convolution_work
from diffad_runtime.bundle import Bundle
from diffad_runtime.engines.choice import suited
from diffad_runtime.engines.onnxruntime import usable_cores
from diffad_runtime.errors import InputError

_WARM_UP = 3
_GRAPHS = ("extractor", "reconstructor")


def profile_bundle(
    bundle: Bundle,
    variants: Sequence[str] | None = None,
    frames: int = 30,
    *,
    threads: int | None = None,
    shapes: tuple[tuple[int, int, int], ...] = SHAPES,
    on_round: Callable[[int, int], None] | None = None,
) -> BundleProfile:
    """Profile variants on frames of noise, of the input size.

    Args:
        bundle: verified.
        variants: None: all that onnxruntime runs.
        frames: runs behind every median, after a warm-up.
        threads: None: as many as this process may use.
        shapes: kernel, channels, side of the convolutions that stand for the processor's peak.
        on_round: called with (done, all) after each round.

    Raises:
        InputError: no frames, or an unknown variant.
        DiffadError: onnxruntime refuses a graph.
    """
    known = list(bundle.manifest.variants)
    names = list(variants) if variants is not None else suited(bundle, "onnxruntime")
    if frames < 1 or not names or not set(names) <= set(known):
        raise InputError(
            f"cannot profile {frames} frames of {', '.join(names) or 'no variant'}",
            mend=f"Give at least one frame, and variants of {', '.join(known)}",
        )
    count, size = threads or usable_cores(), bundle.manifest.input_size
    images = np.random.default_rng(0).integers(0, 256, (_WARM_UP + frames, 1, size, size, 3), dtype=np.uint8)
    peaks = {"int8": fastest(count, int8=True, shapes=shapes), "fp32": fastest(count, int8=False, shapes=shapes)}
    with ExitStack() as stack:
        traced = {
            name: [stack.enter_context(TracedGraph(graph, count)) for graph in bundle.graphs(name)] for name in names
        }
        for number, image in enumerate(images):
            for extractor, reconstructor in traced.values():
                reconstructor.run(extractor.run({"image": image}))
            for run in (run for runs in peaks.values() for run in runs):
                run.run()
            if number >= _WARM_UP and on_round is not None:
                on_round(number + 1 - _WARM_UP, frames)
        found = {name: max((run.peak() for run in runs), key=lambda one: one.gop_per_s) for name, runs in peaks.items()}
        return BundleProfile(
            variants={
                name: tuple(
                    _graph(what, one, graph, found)
                    for what, one, graph in zip(_GRAPHS, traced[name], bundle.graphs(name), strict=True)
                )
                for name in names
            },
            peaks=found,
            frames=frames,
            threads=count,
        )


def _graph(what: str, traced: TracedGraph, graph: bytes, peaks: dict[str, Peak]) -> GraphProfile:
    trace = traced.finish()
    work = convolution_work(graph, traced.optimised, trace.output_sizes)
    times = {operator: (calls, spent[_WARM_UP:]) for operator, (calls, spent) in trace.operators.items()}
    wall = float(np.median(traced.wall_ms[_WARM_UP:]))
    nodes = float(np.median(np.sum([spent for _, spent in times.values()], axis=0)))
    medians = {operator: float(np.median(spent)) for operator, (_, spent) in times.items()}
    total = sum(medians.values())
    operators = [
        OperatorShare(operator, calls, medians[operator], medians[operator] / total)
        for operator, (calls, _) in times.items()
    ]
    # Nodes cannot take longer than the run without profiler: what they do take longer is the profiler's own.
    undisturbed = min(1.0, wall / nodes)

    def convolutions(types: frozenset[str], count: int, gop: float, peak: str) -> ConvolutionFigures:
        ms = sum(medians.get(operator, 0.0) for operator in types) * undisturbed
        return ConvolutionFigures(count, gop, ms, peaks[peak].gop_per_s)

    return GraphProfile(
        graph=what,
        wall_ms=wall,
        nodes_ms=nodes,
        operators=tuple(sorted(operators, key=lambda one: -one.ms)),
        int8=convolutions(INT8_CONVOLUTIONS, work.int8, work.int8_gop, "int8"),
        fp32=convolutions(FLOAT_CONVOLUTIONS, len(work.float_names), work.float_gop, "fp32"),
        float_names=work.float_names,
    )
