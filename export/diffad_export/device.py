"""Where training runs, and whether it may use bfloat16 there."""

import torch

from diffad_runtime.errors import InputError


def pick_device(name: str = "auto") -> torch.device:
    """ "auto": a CUDA GPU where there is one, else the CPU.

    Raises:
        InputError: a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"unknown device {name!r}", mend="Choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("torch finds no CUDA GPU on this machine", mend="Use --device cpu, or install a CUDA build")
    return torch.device(name)


def bf16_is_native(device: torch.device) -> bool:
    """True where bfloat16 convolutions are faster than float32: AVX512-BF16 or AMX, or a GPU that has them."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device, *, enabled: bool) -> torch.autocast:
    """bfloat16 autocast on `device`, or no change."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)
