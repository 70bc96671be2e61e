"""Weights and training state on disk: safetensors and JSON, written under a temporary name and renamed. No pickle."""

import json
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffad_runtime.errors import InputError


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(path)


def read_json(path: Path) -> Any:
    """Read JSON; InputError where the file is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"no {path.name} in {path.parent}", mend="Give a folder that 'diffad-edge train' made"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", mend="Train again, or restore the file") from None


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any] | None = None) -> None:
    """Write tensors with `facts` (JSON-able) in the same file, atomically: state and its step number never part."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    save_file(
        {name: tensor.detach().contiguous().cpu().clone() for name, tensor in tensors.items()},
        part,
        metadata={"facts": json.dumps(facts or {})},
    )
    part.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote.

    Raises:
        InputError: the file is missing, truncated or no safetensors file.
    """
    if not path.exists():
        raise InputError(f"no {path.name} in {path.parent}", mend="Run 'diffad-edge train' first, or check the folder")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata.get("facts", "{}"))  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"cannot read the weights in {path}: {error}", mend="Train again, or restore the file"
        ) from None
