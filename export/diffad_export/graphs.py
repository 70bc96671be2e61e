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
from diffad_export.grids import GridLayout
from diffad_export.reconstructor import Reconstructor

OPSET = 18


def extractor_graph(extractor: Extractor, size: int) -> bytes:
    """image uint8 (1, S, S, 3) -> x float32 (1, 3, S, S), f4, f8 ... float32 (1, C_i, g_i, g_i), as ONNX bytes."""
    outputs = ["x", *feature_names(extractor.layout)]
    return onnx_bytes(extractor, (torch.zeros(1, size, size, 3, dtype=torch.uint8),), ["image"], outputs)


def reconstructor_graph(model: Reconstructor, size: int) -> bytes:
    """x, f4, f8 ... -> anomaly_map (1, S, S), pixel_score and feature_score (1, S / 4, S / 4), float32, as ONNX bytes.

    Without pixel_score where alpha is 0: the graph then has no pixel branch.
    """
    layout = model.layout
    features = [
        torch.zeros(1, channels, size // stride, size // stride)
        for stride, channels in zip(layout.strides, layout.channels, strict=True)
    ]
    outputs = ["anomaly_map", "pixel_score", "feature_score"]
    if model.alpha == 0:
        outputs.remove("pixel_score")
    return onnx_bytes(
        _Deployed(model), (torch.zeros(1, 3, size, size), *features), ["x", *feature_names(layout)], outputs
    )


def feature_names(layout: GridLayout) -> list[str]:
    """Names of the feature tensors between the two graphs: f and the stride of the grid."""
    return [f"f{stride}" for stride in layout.strides]


class _Deployed(nn.Module):
    """A reconstructor whose features come as single tensors, and whose answer holds what is in use."""

    def __init__(self, model: Reconstructor) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        anomaly, pixel, feature = self.model(x, features)
        return (anomaly, feature) if self.model.alpha == 0 else (anomaly, pixel, feature)


def onnx_bytes(module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], outputs: list[str]) -> bytes:
    """Export with static shapes and check; `example` gives one tensor for each of `inputs`."""
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
