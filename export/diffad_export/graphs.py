"""From torch modules to ONNX bytes: static shapes, batch 1, opset 18, no external data.

Knows the names of inputs and outputs that every backend relies on. Module names stay in the metadata, for the
quantiser to name what must stay float; calibration's `simplify` strips them from what ships.
"""

import io
import logging
import warnings

import onnx
import torch
from torch import Tensor, nn

from diffad_export.backbone import Extractor
from diffad_export.reconstructor import Reconstructor

OPSET = 18
EXTRACTOR_IO = (["image"], ["x", "f"])
RECONSTRUCTOR_IO = (["x", "f"], ["anomaly_map", "pixel_score", "feature_score"])


def extractor_graph(extractor: Extractor, size: int) -> bytes:
    """image uint8 (1, S, S, 3) -> x float32 (1, 3, S, S), f float32 (1, C, S / 4, S / 4), as ONNX bytes."""
    return _export(extractor, (torch.zeros(1, size, size, 3, dtype=torch.uint8),), *EXTRACTOR_IO)


def reconstructor_graph(model: Reconstructor, channels: int, size: int) -> bytes:
    """x, f -> anomaly_map (1, S, S), pixel_score and feature_score (1, S / 4, S / 4), float32, as ONNX bytes."""
    x, f = torch.zeros(1, 3, size, size), torch.zeros(1, channels, size // 4, size // 4)
    return _export(model, (x, f), *RECONSTRUCTOR_IO)


def _export(module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str]) -> bytes:
    buffer = io.BytesIO()
    # The exporter speaks of its own inner workings; what can go wrong for a user is raised, not logged.
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                example,
                input_names=inputs,
                output_names=outputs,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            assert program is not None
            buffer.write(program.model_proto.SerializeToString())
    finally:
        logging.disable(previous)
    onnx.checker.check_model(onnx.load_model_from_string(buffer.getvalue()), full_check=True)
    return buffer.getvalue()
