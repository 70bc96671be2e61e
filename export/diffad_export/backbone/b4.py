"""EfficientNet-B4, the paper's backbone, through the transformers library.

Weights are fetched once from the library's hub into its own cache, or taken from a folder or file given by path.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffad_export.backbone.extractor import BackboneFacts, Extractor, to_bgr
from diffad_runtime.errors import InputError, MissingExtraError

HUB_NAME = "google/efficientnet-b4"
FACTS = BackboneFacts(
    name="efficientnet_b4",
    channels=(24, 32, 56, 160),
    mean=(0.485, 0.456, 0.406),
    std=(
        0.47853944,
        0.4732864,
        0.47434163,
    ),  # the converted Keras weights were trained so: sqrt of (0.229, 0.224, 0.225)
    licence="EfficientNet-B4 weights: Apache-2.0 (Google), as google/efficientnet-b4",
)
SHAPE = {"width_coefficient": 1.4, "depth_coefficient": 1.8, "hidden_dim": 1792, "image_size": 380, "dropout_rate": 0.4}
LAST_BLOCK = (1, 5, 9, 21)  # the last block at strides 2, 4, 8 and 16


class _Stem(nn.Module):
    """The library's embeddings on (B, 3, S, S)."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.embeddings(x)
        return out


def b4(weights: Path | None = None, *, random: bool = False) -> Extractor:
    """Load the extractor.

    Args:
        weights: a folder in the library's layout (config.json, model.safetensors); None asks the hub, once.
        random: leave the weights random, for tests of the architecture.

    Raises:
        MissingExtraError: transformers is not installed.
        InputError: the weights can be neither read nor fetched.
    """
    try:
        from transformers import EfficientNetConfig, EfficientNetModel  # noqa: PLC0415
    except ImportError:
        raise MissingExtraError("transformers", extra="b4", purpose="The efficientnet_b4 backbone") from None
    network: Any
    if random:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = EfficientNetModel(EfficientNetConfig(**SHAPE))
    else:
        try:
            network = EfficientNetModel.from_pretrained(str(weights or HUB_NAME), use_safetensors=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no EfficientNet-B4 weights at {weights or HUB_NAME}: {str(error).splitlines()[0]}",
                mend="Give a folder with config.json and model.safetensors, or connect this machine once to fetch them",
            ) from None
    network.eval()
    to_bgr(network.embeddings.convolution)
    stages, start = [], 0
    for last in LAST_BLOCK:
        blocks = list(network.encoder.blocks[start : last + 1])
        stages.append(nn.Sequential(*([_Stem(network.embeddings)] if start == 0 else []), *blocks))
        start = last + 1
    return Extractor(list(stages), FACTS)
