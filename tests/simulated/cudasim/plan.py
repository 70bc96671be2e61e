"""What a simulated plan and a simulated timing cache hold, and how TensorRT says that it does not take them.

Knows their bytes. Does not know who builds or loads.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass

_MAGIC = b"simtrt01"
_TIMINGS = b"simtim01"
_DIGEST = 32


@dataclass(frozen=True)
class Made:
    """What a plan was built by, and asked for with."""

    tensorrt: str
    compute_capability: str
    tf32: bool
    optimisation_level: int
    workspace: int


def pack(made: Made, onnx: bytes) -> bytes:
    """Magic, length of all, length of the header, header, graph, SHA-256 of all before."""
    header = json.dumps(asdict(made), sort_keys=True).encode()
    body = len(header).to_bytes(4, "little") + header + onnx
    whole = _MAGIC + (len(_MAGIC) + 8 + len(body) + _DIGEST).to_bytes(8, "little") + body
    return whole + hashlib.sha256(whole).digest()


def unpack(plan: bytes, tensorrt: str, compute_capability: str) -> tuple[Made, bytes] | str:
    """(What it was built by, the graph), or why it is not taken, in TensorRT's words."""
    start = len(_MAGIC) + 8
    if plan[: len(_MAGIC)] != _MAGIC:
        return _serialization("magicTagRead == kMAGIC_TAG failed.Magic tag does not match")
    if len(plan) < start or int.from_bytes(plan[len(_MAGIC) : start], "little") != len(plan):
        return _serialization(
            "sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.Size specified in header does not match archive "
            "size"
        )
    if hashlib.sha256(plan[:-_DIGEST]).digest() != plan[-_DIGEST:]:
        return "[runtime.cpp::deserializeCudaEngine::64] Error Code 4: Internal Error (Engine deserialization failed.)"
    middle = start + 4 + int.from_bytes(plan[start : start + 4], "little")
    made = Made(**json.loads(plan[start + 4 : middle]))
    if made.tensorrt != tensorrt:
        return _serialization(
            "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: "
            f"{_tag(tensorrt)}, Serialized Engine Version: {_tag(made.tensorrt)}"
        )
    if made.compute_capability != compute_capability:
        return (
            f"The engine plan file is generated on an incompatible device, expecting compute {compute_capability} got "
            f"compute {made.compute_capability}, please rebuild."
        )
    return made, plan[middle:-_DIGEST]


def pack_timings(tensorrt: str, compute_capability: str, graphs: set[str]) -> bytes:
    """Names of graphs that were timed."""
    known = {"tensorrt": tensorrt, "compute_capability": compute_capability, "graphs": sorted(graphs)}
    return _TIMINGS + json.dumps(known).encode()


def unpack_timings(data: bytes) -> tuple[str, str, set[str]] | None:
    """(TensorRT's version, compute capability, names of graphs); None where it is none."""
    if not data.startswith(_TIMINGS):
        return None
    try:
        known = json.loads(data[len(_TIMINGS) :])
    except ValueError:
        return None
    return known["tensorrt"], known["compute_capability"], set(known["graphs"])


def _serialization(why: str) -> str:
    return f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion {why})"


def _tag(version: str) -> int:
    numbers = [int(part) for part in re.findall(r"\d+", version)][:3]
    return sum(number * factor for number, factor in zip(numbers, (20, 3, 1), strict=False))
