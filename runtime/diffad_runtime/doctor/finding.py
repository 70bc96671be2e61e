"""One thing that the doctor looked at, and what a list of them means for one backend.

Knows statuses. Does not look at anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]

ON_GPU = ("tensorrt", "onnxruntime-cuda", "onnxruntime-tensorrt")
"""Backends that need an NVIDIA GPU."""
ON_ONNXRUNTIME = ("auto", "onnxruntime", "onnxruntime-cuda", "onnxruntime-tensorrt")
ALL = ("auto", "onnxruntime", *ON_GPU)

NO_ACTION = "No action"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: of the thing.
        status: ok: nothing to do; warn: something is slower or missing; fail: the product will not run.
        detail: what was found.
        mend: what to do, also where all is well: then what to do should it matter.
        stops: backends that cannot run as it is, whatever the status says of the product as a whole.
    """

    name: str
    status: Status
    detail: str
    mend: str
    stops: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values: name, status, detail, mend."""
        return {"name": self.name, "status": self.status, "detail": self.detail, "mend": self.mend}


def ok(name: str, detail: str, mend: str = NO_ACTION, *, stops: tuple[str, ...] = ()) -> Finding:
    """Nothing to do; with `stops`, for whoever does not want one of these backends."""
    return Finding(name, "ok", detail, mend, stops)


def warn(name: str, detail: str, mend: str, *, stops: tuple[str, ...] = ()) -> Finding:
    """Something is slower or missing."""
    return Finding(name, "warn", detail, mend, stops)


def fail(name: str, detail: str, mend: str, *, stops: tuple[str, ...] = ALL) -> Finding:
    """The product will not run."""
    return Finding(name, "fail", detail, mend, stops)


def for_backend(findings: Iterable[Finding], backend: str) -> list[Finding]:
    """The same findings, where those that stop this backend have failed."""
    return [replace(finding, status="fail") if backend in finding.stops else finding for finding in findings]
