"""The two graphs in every precision that was asked for, and how each answers on given frames.

Knows which precision is made how and which engine judges it. Does not know training, thresholds or bundles.
"""

from dataclasses import dataclass

import numpy as np

from diffad_calibration.quantise import simplify
from diffad_export.backbone import Extractor
from diffad_export.graphs import extractor_graph, reconstructor_graph
from diffad_export.int8graphs import int8_graphs
from diffad_export.progress import track
from diffad_export.reconstructor import Reconstructor
from diffad_runtime.engines.onnxruntime import OnnxRuntimeEngine
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore, Variant
from diffad_runtime.parity import FrameOutcome
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


def build_graphs(
    extractor: Extractor, model: Reconstructor, names: list[str], calibration: Image, *, correct_bias: bool = True
) -> dict[str, Graphs]:
    """Export both graphs and quantise them.

    Args:
        model: with a folded student.
        names: as `known` gives them.
        calibration: images uint8 (N, S, S, 3), as the line will see them, defects among them.
        correct_bias: of INT8; not needed where graphs are only timed.
    """
    size = calibration.shape[1]
    raw = Graphs(extractor_graph(extractor, size), reconstructor_graph(model, size))
    made = {"fp32": Graphs(simplify(raw.extractor), simplify(raw.reconstructor))}
    if "int8" in names:
        made["int8"] = Graphs(*int8_graphs(raw.extractor, raw.reconstructor, calibration, correct_bias=correct_bias))
    return made


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
