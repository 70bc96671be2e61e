"""Every variant of a bundle, made of two FP32 graphs and one pass over calibration frames.

Knows names of variants and what each is made by. Does not know training, gates or files.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from diffad_calibration.precision.biascorrection import bias_shifts
from diffad_calibration.precision.coverage import check_coverage, int8_coverage
from diffad_calibration.precision.onnxfile import load
from diffad_calibration.precision.placement import convolutions, kept_tensors
from diffad_calibration.precision.quantise import Sample
from diffad_calibration.precision.ranges import Collector, Range
from diffad_calibration.precision.recipes import CPU, TENSORRT, TENSORRT_HALF, Recipe, Shifts, halve, quantise
from diffad_calibration.precision.variantrecord import CalibrationRecord, GraphRecord, VariantRecord
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
from diffad_runtime.errors import BundleError, DataError, InputError
from diffad_runtime.manifest import Precision, Target, Variant
from diffad_runtime.result import Image

GRAPHS = ("extractor", "reconstructor")


def _form(precision: Precision, target: Target, stem: str) -> Variant:
    graphs = {graph: f"graphs/{graph}.{stem}.onnx" for graph in GRAPHS}
    return Variant(precision=precision, target=target, **graphs)


FORMS: dict[str, Variant] = {
    "fp32": _form("fp32", "any", "fp32"),
    "fp16": _form("fp16", "any", "fp16"),
    "int8": _form("int8", "cpu", "int8-cpu"),
    "int8-trt": _form("int8", "tensorrt", "int8-trt"),
    "int8-fp16-trt": _form("int8-fp16", "tensorrt", "int8-fp16-trt"),
}
RECIPES: dict[str, Recipe] = {"int8": CPU, "int8-trt": TENSORRT, "int8-fp16-trt": TENSORRT_HALF}
ESTIMATOR = "percentile"
"""What ranges are estimated by unless told otherwise; measured against the others in NOTES.md."""

KeepFloat = Mapping[str, tuple[str, ...]]
"""Nodes that are not rounded, by graph."""


@dataclass(frozen=True, slots=True)
class Graphs:
    """Serialised ONNX of both graphs of a variant."""

    extractor: bytes
    reconstructor: bytes

    def __getitem__(self, graph: str) -> bytes:
        return self.extractor if graph == "extractor" else self.reconstructor

    def engine(self, name: str, size: int, threads: int | None = None) -> OnnxRuntimeEngine:
        """An ONNX Runtime engine of these graphs, whatever backend they are meant for."""
        return OnnxRuntimeEngine(self.extractor, self.reconstructor, input_size=size, variant=name, threads=threads)


@dataclass(frozen=True, slots=True)
class Made:
    """A variant, and what is needed to make it again without a frame."""

    graphs: Graphs
    record: VariantRecord


@dataclass(slots=True)
class Calibrator:
    """What one pass over the frames saw, from which all variants are made.

    Attributes:
        fp32: both graphs as the bundle holds them.
        estimator: of ranges.
        frames: how many passed.
    """

    fp32: Graphs
    estimator: str
    frames: int
    _collectors: dict[str, Collector] = field(repr=False)
    _samples: dict[str, Sample] = field(repr=False)
    _ranges: dict[tuple[str, bool], dict[str, Range]] = field(default_factory=dict, repr=False)
    _shifts: dict[tuple[str, bool, tuple[str, ...]], Shifts] = field(default_factory=dict, repr=False)

    @staticmethod
    def watch(
        fp32: Graphs,
        images: Iterable[Image],
        *,
        estimator: str = ESTIMATOR,
        progress: Callable[[Iterable[Image]], Iterable[Image]] | None = None,
    ) -> "Calibrator":
        """Run both FP32 graphs on every image, the second on what the first says.

        Args:
            fp32: simplified.
            images: uint8 (S, S, 3), as the line will see them, defects among them.
            progress: wraps the images while they are run.

        Raises:
            DataError: no images, or NaN within a graph.
            DiffadError: onnxruntime refuses a graph or an image.
        """
        collectors = {graph: Collector(fp32[graph]) for graph in GRAPHS}
        samples = {graph: Sample() for graph in GRAPHS}
        frames = 0
        for image in images if progress is None else progress(images):
            feed = {"image": np.asarray(image)[None]}
            for graph in GRAPHS:
                samples[graph].offer(feed)
                feed = collectors[graph].add(feed)
            frames += 1
        if frames == 0:
            raise DataError("no images to calibrate on", mend="Give at least one, better 32 or more")
        return Calibrator(fp32, estimator, frames, collectors, samples)

    def make(self, name: str, *, keep_float: KeepFloat | None = None, correct_bias: bool = True) -> Made:
        """One of FORMS.

        Args:
            keep_float: nodes that are not rounded; FP32, or FP16 where the variant mixes both.
            correct_bias: take off what rounding adds to each channel's mean.

        Raises:
            GateError: on the CPU, a convolution of the reconstructor stayed float that was not to.
            InputError: an unknown name.
        """
        record = VariantRecord(recipe=_known(name), graphs={})
        made = {}
        for graph in GRAPHS:
            own = self._planned(name, graph, (keep_float or {}).get(graph, ()))
            if name in RECIPES and correct_bias:
                own.keep_shifts(self._shifts_of(graph, RECIPES[name], own))
            record.graphs[graph] = own
            made[graph] = build(self.fp32[graph], name, own, self._collectors[graph].extremes())
        if name == "int8":
            # A convolution of the student that stayed float would only be slow, and unnoticed.
            fp32 = load(self.fp32.reconstructor)
            kept = kept_tensors(fp32, record.graphs["reconstructor"].keep_float)
            meant = len(convolutions(fp32.graph)) - len(convolutions(fp32.graph, kept))
            check_coverage(int8_coverage(made["reconstructor"]), float_convolutions=meant)
        return Made(Graphs(made["extractor"], made["reconstructor"]), record)

    def one_graph(self, name: str, graph: str, *, keep_float: Sequence[str] = ()) -> bytes:
        """One graph of a variant, biases as they are: for looking at single layers."""
        own = self._planned(_known(name), graph, keep_float)
        return build(self.fp32[graph], name, own, self._collectors[graph].extremes())

    def record(self, variants: Mapping[str, VariantRecord]) -> CalibrationRecord:
        """What a bundle keeps of the calibration."""
        return CalibrationRecord(
            frames=self.frames,
            estimator=self.estimator,
            extremes={graph: collector.extremes() for graph, collector in self._collectors.items()},
            variants=dict(variants),
        )

    def _planned(self, name: str, graph: str, kept: Sequence[str]) -> GraphRecord:
        own = GraphRecord(keep_float=list(kept))
        if name in RECIPES:
            symmetric = RECIPES[name].symmetric
            if (graph, symmetric) not in self._ranges:
                self._ranges[graph, symmetric] = self._collectors[graph].ranges(self.estimator, symmetric=symmetric)
            own.ranges = self._ranges[graph, symmetric]
        return own

    def _shifts_of(self, graph: str, recipe: Recipe, own: GraphRecord) -> Shifts:
        """Measured once for each way of rounding: FP16 beside INT8 moves no mean."""
        key = graph, recipe.symmetric, tuple(own.keep_float)
        if key not in self._shifts:
            as_float = CPU if recipe == CPU else TENSORRT
            trial = quantise(self.fp32[graph], as_float, own.ranges, keep_float=own.keep_float)
            self._shifts[key] = bias_shifts(self.fp32[graph], trial, self._samples[graph].kept)
        return self._shifts[key]


def build(fp32: bytes, name: str, record: GraphRecord, extremes: Mapping[str, tuple[float, float]]) -> bytes:
    """One graph of one variant: the same arguments give the same bytes.

    Args:
        fp32: the graph as the bundle holds it.
        name: of the variant.
        extremes: of all float tensors.
    """
    if name == "fp32":
        return fp32
    if name == "fp16":
        return halve(fp32, extremes, keep_float=record.keep_float)
    recipe = RECIPES[_known(name)]
    return quantise(
        fp32, recipe, record.ranges, extremes=extremes, keep_float=record.keep_float, shifts=record.shifts()
    )


def rebuild(fp32: Graphs, record: CalibrationRecord, name: str) -> Graphs:
    """A variant made again from the FP32 graphs and what the bundle keeps, without images.

    Raises:
        InputError: the record has no such variant, or its weights were tuned after FP32.
        BundleError: the record lacks one of its graphs.
    """
    if name not in record.variants:
        raise InputError(
            f"the calibration record has no variant {name!r}, it has {', '.join(record.variants)}",
            mend="Name one of these",
        )
    variant = record.variants[name]
    if variant.tuned:
        raise InputError(
            f"the weights of variant {name!r} were tuned, FP32 does not hold them", mend="Export it again to change it"
        )
    missing = [graph for graph in GRAPHS if graph not in variant.graphs or graph not in record.extremes]
    if missing:
        raise BundleError(
            f"the calibration record says nothing of the {missing[0]} of variant {name!r}",
            mend="Export the bundle again",
        )
    made = {
        graph: build(fp32[graph], variant.recipe, variant.graphs[graph], record.extremes[graph]) for graph in GRAPHS
    }
    return Graphs(made["extractor"], made["reconstructor"])


def _known(name: str) -> str:
    if name not in FORMS:
        raise InputError(f"unknown variant {name!r}", mend=f"Choose from: {', '.join(FORMS)}")
    return name
