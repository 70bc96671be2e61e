"""Maps of whole sets of images by a torch reconstructor, one image at a time as on the line.

Knows a reconstructor and an extractor. Does not know thresholds or graphs.
"""

import numpy as np
import torch

from diffad_export.backbone import Extractor
from diffad_export.backbone.extractor import normalise
from diffad_export.progress import track
from diffad_export.reconstructor import Reconstructor
from diffad_runtime.result import FloatMap, Image


@torch.no_grad()
def torch_maps(extractor: Extractor, model: Reconstructor, images: Image) -> FloatMap:
    """Fused maps of images uint8 (N, S, S, 3) by torch, one at a time as on the line: float32 (N, S, S)."""
    maps = np.empty(images.shape[:3], np.float32)
    for i in track(range(len(images)), "Maps by torch"):
        x = normalise(torch.from_numpy(images[i : i + 1]))
        maps[i] = model(x, extractor.grids(x))[0][0].numpy()
    return maps
