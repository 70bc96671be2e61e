"""The two graphs in INT8, each calibrated on what it will be given.

Knows calibration images and graphs. Does not know variants, gates or training.
"""

from collections.abc import Iterator

import onnxruntime

from diffad_calibration.quantise import Feed, check_coverage, int8_coverage, quantise_for_cpu
from diffad_export.progress import track
from diffad_runtime.result import Image


def int8_graphs(
    extractor: bytes, reconstructor: bytes, calibration: Image, *, correct_bias: bool = True
) -> tuple[bytes, bytes]:
    """Quantise both.

    Args:
        extractor, reconstructor: FP32 ONNX as the exporter made them.
        calibration: images uint8 (N, S, S, 3), as the line will see them, defects among them.
        correct_bias: False for networks that were tuned while they rounded: their means are right as they are, and
            what they would answer in float is not what they should.

    Raises:
        GateError: a convolution of the reconstructor stayed float.
    """
    first = quantise_for_cpu(extractor, _images(calibration), correct_bias=correct_bias)
    # The reconstructor is calibrated on what it will be given: features of the INT8 extractor.
    second = quantise_for_cpu(reconstructor, _features(first, calibration), correct_bias=correct_bias)
    # Every convolution of the student must run in INT8: one that stayed float would only be slow, and unnoticed.
    check_coverage(int8_coverage(second), float_convolutions=0)
    return first, second


def _images(calibration: Image) -> Iterator[Feed]:
    for image in track(calibration, "INT8 ranges, extractor"):
        yield {"image": image[None]}


def _features(extractor: bytes, calibration: Image) -> Iterator[Feed]:
    session = onnxruntime.InferenceSession(extractor, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    for image in track(calibration, "INT8 ranges, reconstructor"):
        yield dict(zip(names, session.run(names, {"image": image[None]}), strict=True))
