"""A network's name by its numbers: whatever was computed with other weights is another thing."""

import hashlib

from torch import nn


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names, shapes and values of all that `module.state_dict()` holds, in hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
