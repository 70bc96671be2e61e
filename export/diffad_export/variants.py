"""The two graphs in every precision that was asked for, and how each answers on given frames.

Knows which precision is made how and which engine judges it. Does not know training, thresholds or bundles.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from diffad_calibration.parity import FrameOutcome
from diffad_calibration.quantise import Feed, check_coverage, int8_coverage, quantise_for_cpu, simplify
from diffad_export.backbone import Extractor
from diffad_export.graphs import extractor_graph, reconstructor_graph
from diffad_export.progress import track
from diffad_export.reconstructor import Reconstructor
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore, Variant
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.scoring import image_score

FORMS: dict[str, Variant] = {
    "fp32": Variant(
        precision="fp32",
        target="any",
        extractor="graphs/extractor.fp32.onnx",
        reconstructor="graphs/reconstructor.fp32.onnx",
    ),
    "int8": Variant(
        precision="int8",
        target="cpu",
        extractor="graphs/extractor.int8-cpu.onnx",
        reconstructor="graphs/reconstructor.int8-cpu.onnx",
    ),
}


@dataclass(frozen=True, slots=True)
class Graphs:
    """Serialised ONNX of one variant."""

    extractor: bytes
    reconstructor: bytes

    def engine(self, name: str, size: int, threads: int | None = None) -> OnnxRuntimeEngine:
        """An ONNX Runtime engine of these graphs."""
        return OnnxRuntimeEngine(self.extractor, self.reconstructor, input_size=size, variant=name, threads=threads)


def known(names: list[str]) -> list[str]:
    """Check variant names; fp32 always comes along, since it is what the others are held against.

    Raises:
        InputError: a name that this version does not make.
    """
    for name in names:
        if name not in FORMS:
            raise InputError(f"unknown precision {name!r}", mend=f"Choose from: {', '.join(FORMS)}")
    return [name for name in FORMS if name == "fp32" or name in names]


def build_graphs(extractor: Extractor, model: Reconstructor, names: list[str], calibration: Image) -> dict[str, Graphs]:
    """Export both graphs and quantise them.

    Args:
        model: with a folded student.
        names: as `known` gives them.
        calibration: images uint8 (N, S, S, 3), as the line will see them, defects among them.
    """
    size, channels = calibration.shape[1], sum(extractor.channels)
    raw = Graphs(extractor_graph(extractor, size), reconstructor_graph(model, channels, size))
    made = {"fp32": Graphs(simplify(raw.extractor), simplify(raw.reconstructor))}
    if "int8" in names:
        first = quantise_for_cpu(raw.extractor, _images(calibration))
        # The reconstructor is calibrated on what it will be given: features of the INT8 extractor.
        second = quantise_for_cpu(raw.reconstructor, _features(first, calibration))
        # Every convolution of the student must run in INT8: one that stayed float would only be slow, and unnoticed.
        check_coverage(int8_coverage(second), float_convolutions=0)
        made["int8"] = Graphs(first, second)
    return made


def _images(calibration: Image) -> Iterator[Feed]:
    for image in track(calibration, "INT8 ranges, extractor"):
        yield {"image": image[None]}


def _features(extractor: bytes, calibration: Image) -> Iterator[Feed]:
    import onnxruntime  # noqa: PLC0415  only INT8 needs it here

    session = onnxruntime.InferenceSession(extractor, providers=["CPUExecutionProvider"])
    for image in track(calibration, "INT8 ranges, reconstructor"):
        x, f = session.run(["x", "f"], {"image": image[None]})
        yield {"x": x, "f": f}


def engine_maps(graphs: Graphs, name: str, images: Image) -> FloatMap:
    """Fused maps of images uint8 (N, S, S, 3) by ONNX Runtime: float32 (N, S, S)."""
    maps = np.empty(images.shape[:3], np.float32)
    with graphs.engine(name, images.shape[1]) as engine:
        for i in track(range(len(images)), f"Maps by {name}"):
            maps[i] = engine.infer(images[i]).anomaly
    return maps


def outcomes(maps: FloatMap, how: ImageScore, threshold: float) -> list[FrameOutcome]:
    """Score and decide each map (N, S, S)."""
    scores = [image_score(one, how) for one in maps]
    return [FrameOutcome(one, score, score > threshold) for one, score in zip(maps, scores, strict=True)]
