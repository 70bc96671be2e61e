"""Initial weights of the paper's network from a guided-diffusion checkpoint, reported tensor by tensor.

Knows the checkpoints' colour order and which tensors they cannot have. Reads tensors only, never a pickle of objects.
"""

import pickle
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from diffad_export.networks.paper import COLOURS, PaperTeacher
from diffad_runtime.errors import InputError

# Ours alone, and the table of categories: a file that lacks them may still be the right one.
NOT_OF_THE_TRUNK = ("feature_norm.", "feature_head.", "variance_head.", "label_emb.")
FIRST, LAST = "input_blocks.0.0.weight", ("out.2.weight", "out.2.bias")


@dataclass(frozen=True, slots=True)
class ShapeDiffers:
    """A tensor that both have, in different shapes."""

    name: str
    expected: tuple[int, ...]
    got: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} expected {list(self.expected)}, got {list(self.got)}"


@dataclass(frozen=True, slots=True)
class InitReport:
    """What became of every tensor of the network and of the file.

    Attributes:
        path: the file.
        loaded: names that were copied.
        shape_differs: left as initialised.
        missing: names that the file does not have; left as initialised.
        left_over: names in the file that the network does not have.
        parameters_loaded, parameters: numbers, copied and in all.
    """

    path: str
    loaded: tuple[str, ...]
    shape_differs: tuple[ShapeDiffers, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    parameters_loaded: int
    parameters: int

    @property
    def share(self) -> float:
        """Share of the network's parameters that came from the file, 0..1."""
        return self.parameters_loaded / self.parameters

    def lines(self) -> list[str]:
        """For the terminal: a summary, then every tensor that was not simply loaded."""
        counts = (len(self.loaded), len(self.shape_differs), len(self.missing), len(self.left_over))
        return [
            f"{100 * self.share:.1f} % of {self.parameters / 1e6:.1f} M parameters from {self.path}",
            "{} tensors loaded, {} of another shape, {} missing in the file, {} left over in it".format(*counts),
            *(f"  another shape, left at init: {one}" for one in self.shape_differs),
            *(f"  missing, left at init: {name}" for name in self.missing),
            *(f"  left over: {name}" for name in self.left_over),
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"share": self.share}


def init_from_checkpoint(teacher: PaperTeacher, path: Path) -> InitReport:
    """Copy into `teacher`, in place, what a checkpoint has under the same name and in the same shape.

    Our images are BGR, the checkpoints' are RGB: the first convolution's input channels and the output channels of the
    last one, noise and variance each, are turned round.

    Args:
        teacher: on any device; keeps its dtype.
        path: a .safetensors file, or a torch file of tensors by name, as guided-diffusion publishes them.

    Raises:
        InputError: no such file, not a file of tensors, or fewer than half of the trunk's tensors found in it. The
            teacher is then as it was.
    """
    ours, theirs = teacher.state_dict(), _read(path)
    shared = [name for name in ours if name in theirs]
    differs = tuple(
        ShapeDiffers(name, tuple(ours[name].shape), tuple(theirs[name].shape))
        for name in shared
        if ours[name].shape != theirs[name].shape
    )
    loaded = sorted(set(shared) - {one.name for one in differs}, key=list(ours).index)
    missing = tuple(name for name in ours if name not in theirs)
    _check(path, ours, loaded, differs, missing)
    with torch.no_grad():
        for name in loaded:
            ours[name].copy_(_to_bgr(name, theirs[name]))
    return InitReport(
        path=str(path),
        loaded=tuple(loaded),
        shape_differs=differs,
        missing=missing,
        left_over=tuple(name for name in theirs if name not in ours),
        parameters_loaded=sum(ours[name].numel() for name in loaded),
        parameters=sum(tensor.numel() for tensor in ours.values()),
    )


def _to_bgr(name: str, tensor: Tensor) -> Tensor:
    if name == FIRST:
        return tensor.flip(1)
    if name in LAST:
        return tensor.reshape(2, COLOURS, *tensor.shape[1:]).flip(1).reshape(tensor.shape)
    return tensor


def _check(
    path: Path, ours: Iterable[str], loaded: list[str], differs: tuple[ShapeDiffers, ...], missing: tuple[str, ...]
) -> None:
    trunk = [name for name in ours if not name.startswith(NOT_OF_THE_TRUNK)]
    found = set(loaded).intersection(trunk)
    if 2 * len(found) >= len(trunk):
        return
    first = next(name for name in trunk if name not in found)
    how = f"{first} is missing in it" if first in missing else str(next(one for one in differs if one.name == first))
    raise InputError(
        f"{path} is no guided-diffusion UNet of this size: {len(found)} of {len(trunk)} tensors fit; first, {how}",
        mend="Give guided-diffusion's 256x256_diffusion.pt, or the widths that the file was made with",
    )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"no weights at {path}", mend="Check the path given with --init-weights")
    try:
        if path.suffix == ".safetensors":
            whole: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an unusual pickle protocol: it is read, or refused below
                # Only zip files, as torch has written them since 1.6, can be mapped instead of read.
                whole = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} cannot be read as tensors alone: it holds other objects, or is no torch file",
            mend="Give a state dict saved by torch.save, or a .safetensors file",
        ) from None
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(
            f"cannot read the weights in {path}: {(str(error) or type(error).__name__).splitlines()[0]}",
            mend="Fetch the file again",
        ) from None
    named = whole.items() if isinstance(whole, dict) else ()
    tensors = {name: one for name, one in named if isinstance(name, str) and isinstance(one, Tensor)}
    if not tensors:
        raise InputError(f"{path} holds no tensors by name", mend="Give a state dict of guided-diffusion's UNet")
    return tensors
