"""The two graphs of a student in every variant that was asked for, and how each answers on given frames.

Knows torch modules on one side and engines on the other. Does not know training, thresholds or bundles.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from diffad_calibration.precision.onnxfile import simplify
from diffad_calibration.precision.variantrecord import CalibrationRecord, VariantRecord
from diffad_calibration.precision.variants import ESTIMATOR, FORMS, Calibrator, Graphs, KeepFloat, Made
from diffad_export.backbone import Extractor
from diffad_export.graphs import extractor_graph, reconstructor_graph
from diffad_export.progress import track
from diffad_export.reconstructor import Reconstructor
from diffad_runtime.errors import InputError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.parity import FrameOutcome
from diffad_runtime.result import FloatMap, Image
from diffad_runtime.scoring import image_score

FAMILIES: dict[str, tuple[str, ...]] = {
    "fp32": ("fp32",),
    "fp16": ("fp16",),
    "int8": ("int8", "int8-trt", "int8-fp16-trt"),
}
"""What `--precision` names, as variants."""


@dataclass(frozen=True, slots=True)
class Built:
    """Variants of one student.

    Attributes:
        graphs, records: by variant; records hold what each was made with.
        calibrator: what the calibration frames showed, for variants to be made anew.
    """

    graphs: dict[str, Graphs]
    records: dict[str, VariantRecord]
    calibrator: Calibrator

    def remade(self, name: str, keep_float: KeepFloat) -> "Built":
        """With one variant made anew, some of its nodes not rounded."""
        return self.replaced(name, self.calibrator.make(name, keep_float=keep_float))

    def replaced(self, name: str, made: Made) -> "Built":
        """With another variant of that name."""
        return replace(self, graphs=self.graphs | {name: made.graphs}, records=self.records | {name: made.record})

    def record(self) -> CalibrationRecord:
        """What a bundle keeps of it."""
        return self.calibrator.record(self.records)


def known(names: Iterable[str]) -> list[str]:
    """Check variant names; fp32 always comes along, since it is what the others are held against.

    Raises:
        InputError: a name that this version does not make.
    """
    wanted = list(names)
    for name in wanted:
        if name not in FORMS:
            raise InputError(f"unknown precision {name!r}", mend=f"Choose from: {', '.join(FORMS)}")
    return [name for name in FORMS if name == "fp32" or name in wanted]


def of_families(names: Iterable[str], targets: Iterable[str]) -> list[str]:
    """Precisions as a user names them -> variants: of INT8 one for each target, and the mixed one for TensorRT.

    Args:
        names: of FAMILIES, or of variants.
        targets: "cpu", "tensorrt"; variants for neither are left out unless they are named themselves.

    Raises:
        InputError: an unknown name or target.
    """
    wanted, found = list(targets), []
    for target in wanted:
        if target not in {"cpu", "tensorrt"}:
            raise InputError(f"unknown target {target!r}", mend="Choose from: cpu, tensorrt")
    for name in names:
        if name in FAMILIES:
            found += [one for one in FAMILIES[name] if FORMS[one].target in {"any", *wanted}]
        elif name in FORMS:
            found.append(name)
        else:
            choices = ", ".join(dict.fromkeys([*FAMILIES, *FORMS]))
            raise InputError(f"unknown precision {name!r}", mend=f"Choose from: {choices}")
    return known(found)


def build_graphs(
    extractor: Extractor,
    model: Reconstructor,
    names: list[str],
    calibration: Image,
    *,
    correct_bias: bool = True,
    estimator: str = ESTIMATOR,
) -> Built:
    """Export both graphs, watch them on the calibration images once, and make every variant of that.

    Args:
        model: with a folded student.
        names: as `known` gives them.
        calibration: images uint8 (N, S, S, 3), as the line will see them, defects among them.
        correct_bias: of INT8; not needed where graphs are only timed.
        estimator: of ranges.

    Raises:
        GateError: a convolution of the student stayed float.
    """
    size = calibration.shape[1]
    fp32 = Graphs(simplify(extractor_graph(extractor, size)), simplify(reconstructor_graph(model, size)))
    calibrator = Calibrator.watch(
        fp32, calibration, estimator=estimator, progress=lambda images: track(list(images), "Ranges for FP16 and INT8")
    )
    made = {name: calibrator.make(name, correct_bias=correct_bias) for name in names}
    return Built({n: one.graphs for n, one in made.items()}, {n: one.record for n, one in made.items()}, calibrator)


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
