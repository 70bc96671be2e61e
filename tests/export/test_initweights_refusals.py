"""Files that are no checkpoint of tensors: refused in one line, and nothing in them is run."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffad_export.initweights import init_from_checkpoint
from diffad_export.networks.paper import PaperTeacher
from diffad_runtime.errors import InputError


def network() -> PaperTeacher:
    return PaperTeacher(5, (8, 8, 16), 1, attention=(), head_width=4, groups=4)


class Code:
    """A pickle of this would run something when it is read without care."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return print, ("it ran",)


def more_than_tensors(path: Path) -> None:
    torch.save({"time_embed.0.weight": torch.zeros(3), "code": Code()}, path)


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"code": Code()}))


def truncated(path: Path) -> None:
    torch.save(network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-5000])


def text_instead(path: Path) -> None:
    path.write_text("<html>not found</html>", encoding="utf-8")


def broken_safetensors(path: Path) -> None:
    path.with_suffix(".safetensors").write_bytes(b"\xff" * 100)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (more_than_tensors, "holds other objects"),
        (plain_pickle, "holds other objects"),
        (truncated, "cannot be read as tensors alone|cannot read the weights"),
        (text_instead, "is no torch file"),
        (broken_safetensors, "cannot read the weights"),
        (lambda path: path.write_bytes(b""), "cannot read the weights"),
        (lambda path: path.mkdir(), "no weights at"),
        (lambda _: None, "no weights at"),
        (lambda path: torch.save({"step": 3}, path), "holds no tensors by name"),
        (lambda path: torch.save([torch.zeros(3)], path), "holds no tensors by name"),
    ],
)
def test_bad_files(
    tmp_path: Path, spoil: Callable[[Path], object], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.pt"
    spoil(path)
    if path.with_suffix(".safetensors").exists():
        path = path.with_suffix(".safetensors")
    with pytest.raises(InputError, match=words) as caught:
        init_from_checkpoint(network(), path)
    assert "\n" not in str(caught.value)
    assert "it ran" not in capsys.readouterr().out
