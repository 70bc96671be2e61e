"""TensorRT's own words, turned into what happened and what to do.

Knows the texts that users meet, from NVIDIA's documentation and from issue threads of projects that deploy on Jetsons.
Does not call TensorRT.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MIB = 1 << 20
_OUT_OF_MEMORY = re.compile(
    r"out ?of ?memory|outofmemory|could not be allocated|memory is insufficient|insufficient memory"
    r"|failed_allocation|enough free memory|cudaerrormemoryallocation",
    re.IGNORECASE,
)
_NO_KERNEL = re.compile(r"could not find any implementation for node (?P<node>.+?)(?:\.\s|\.$|\)|$)", re.IGNORECASE)
_OTHER_ENGINE = re.compile(
    r"version tag|serialized engine version|not compatible with this version|incompatible device"
    r"|serialization assertion|magic tag|expecting library version|cross-platform|stdversionread",
    re.IGNORECASE,
)
_MAKE_ROOM = (
    "Stop other programs, above all the desktop (sudo systemctl isolate multi-user.target), add swap, "
    "or lower --workspace-mb or --optimisation-level; it is needed while building only"
)
_EXPORT_AGAIN = "Export the bundle again with this release and look at it with 'diffad-edge verify --lint'"

LITTLE_MEMORY = 1 << 30
"""Bytes. Below it, a builder that finds no kernel has most likely found no room for one."""


@dataclass(frozen=True, slots=True)
class Said:
    """One line for people.

    Attributes:
        what: happened.
        mend: what to do.
    """

    what: str
    mend: str


def about_build(lines: Sequence[str], free_bytes: int) -> Said:
    """Why a builder gave no engine.

    Args:
        lines: what it logged at WARNING or worse, oldest first.
        free_bytes: memory that was free when it began.
    """
    text = "\n".join(lines)
    free = f"{free_bytes / _MIB:.0f} MiB were free"
    missing = _NO_KERNEL.search(text)
    if _OUT_OF_MEMORY.search(text) or (missing and free_bytes < LITTLE_MEMORY):
        return Said(f"the builder ran out of memory ({free} when it began)", _MAKE_ROOM)
    if missing:
        return Said(
            f"the builder has no kernel for {_short(missing['node'])} on this GPU, or no room for one ({free})",
            f"Try a larger --workspace-mb, or another variant with --variant. {_EXPORT_AGAIN}",
        )
    return Said(f"the builder gave no engine: {_last(lines) or 'it said nothing'}", _EXPORT_AGAIN)


@dataclass(frozen=True, slots=True)
class ParserComplaint:
    """One error of trt.OnnxParser: node, operator and text as it gives them, and its code's name."""

    node: str
    operator: str
    text: str
    code: str = ""


def about_graph(complaints: Sequence[ParserComplaint], lines: Sequence[str]) -> Said:
    """Why the parser refused a graph: the first three nodes, and what to do about the first.

    Args:
        complaints: of the parser, in its order.
        lines: what it logged at WARNING or worse; used where it names nothing.
    """
    if not complaints:
        return Said(f"the parser refuses the graph: {_last(lines) or 'it said nothing'}", _EXPORT_AGAIN)
    named = [f"{one.node or 'no node'} ({one.operator or '-'}): {_short(one.text)}" for one in complaints[:3]]
    more = f", and {len(complaints) - 3} more" if len(complaints) > 3 else ""
    return Said(f"the parser refuses {'; '.join(named)}{more}", _mend_graph(complaints[0]))


def about_plan(lines: Sequence[str]) -> str:
    """Why a plan was not taken back, in a few words."""
    if _OUT_OF_MEMORY.search("\n".join(lines)):
        return "no memory to load it"
    if _OTHER_ENGINE.search("\n".join(lines)):
        return "built by another TensorRT or for another GPU"
    return _last(lines) or "TensorRT does not say why"


def _mend_graph(complaint: ParserComplaint) -> str:
    text = complaint.text.lower()
    if "no importer" in text or complaint.code.startswith("UNSUPPORTED_NODE"):
        operator = complaint.operator or "this operator"
        return f"This TensorRT does not know {operator}: {_EXPORT_AGAIN[0].lower()}{_EXPORT_AGAIN[1:]}"
    if "zero point" in text or "zeropoint" in text or "scale" in text:
        return "Variants made for CPUs have other Q/DQ nodes than TensorRT takes: run one made for TensorRT, or fp16"
    if complaint.code.startswith("MODEL_DESERIALIZE"):
        return "The graph cannot be read: check the bundle with 'diffad-edge verify', and export it again"
    return _EXPORT_AGAIN


def _last(lines: Sequence[str]) -> str:
    return "; ".join(_short(line) for line in list(lines)[-2:])


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 200 else words[:197] + "..."
