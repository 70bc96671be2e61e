"""Backbones by name, and what is said where that fails."""

from pathlib import Path

import pytest
import torch

from diffad_export.backbone import BACKBONES, load_backbone
from diffad_runtime.errors import InputError


def test_unknown_backbone() -> None:
    with pytest.raises(InputError, match=r"unknown backbone 'resnet'\. Choose one of: efficientnet_lite0, effic"):
        load_backbone("resnet")
    assert set(BACKBONES) == {"efficientnet_lite0", "efficientnet_b4"}


@pytest.mark.parametrize("name", list(BACKBONES))
def test_missing_weights_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no backbone weights at .*none\.pth"):
        load_backbone(name, tmp_path / "none.pth")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"other\.pth"):
        load_backbone("efficientnet_lite0", path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_weights_that_are_no_weights(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.pth"):
        load_backbone("efficientnet_lite0", path)
