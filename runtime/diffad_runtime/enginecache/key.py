"""What an engine depends on, and the name that follows from it.

Knows which facts make a plan useless when they change. Does not know where plans are kept, nor TensorRT.
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_OPTIONS = {"optimisation_level", "workspace_mb"}
_SHORT = 16


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DeviceFacts(_Strict):
    """What of this machine a plan depends on."""

    tensorrt: str = Field(description="full version of the bindings")
    cuda: str = Field(description="version that the driver speaks")
    compute_capability: str
    multiprocessors: int
    gpu: str = Field(description="name that the driver gives it")
    l4t: str = Field(description="L4T release, empty where this is no Jetson")

    @property
    def name(self) -> str:
        """For a file that every engine of this device shares."""
        return _digest(self.model_dump_json())[:_SHORT]

    def text(self) -> str:
        """For people, as in "Orin 8.7, L4T 36.4.3"."""
        return f"{self.gpu} {self.compute_capability}" + (f", L4T {self.l4t}" if self.l4t else "")


class EngineKey(_Strict):
    """All that a plan depends on, and what it was asked for with."""

    schema_version: Literal[1] = 1
    onnx_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    device: DeviceFacts
    tf32: bool
    optimisation_level: int | None = Field(description="as asked for; None: the builder's own")
    workspace_mb: int | None = Field(description="as asked for; None: by the memory that was free")

    @property
    def name(self) -> str:
        """For a file: by what must agree, then by the options, as in "0123456789abcdef" and "0123456789abcdef-o5"."""
        level = "" if self.optimisation_level is None else f"-o{self.optimisation_level}"
        workspace = "" if self.workspace_mb is None else f"-w{self.workspace_mb}"
        return self.facts_name + level + workspace

    @property
    def facts_name(self) -> str:
        """What the names of all engines begin with that differ in options alone."""
        return _digest(self.model_dump_json(exclude=_OPTIONS))[:_SHORT]

    def accepts(self, built: "EngineKey") -> bool:
        """Whether an engine of that key may be taken where this one is asked for.

        An option that is not asked for accepts whatever was built: `build --optimisation-level 5` is there for `run`.
        """
        unasked = {name: getattr(built, name) for name in _OPTIONS if getattr(self, name) is None}
        return self.model_copy(update=unasked) == built


class About(_Strict):
    """What an engine is, for people: no part of its key."""

    graph: Literal["extractor", "reconstructor"]
    variant: str
    model_id: str
    model_version: int
    bundle_digest: str
    seconds: float = Field(description="that the build took")


class SideFile(_Strict):
    """Contents of KEY.json beside KEY.plan."""

    key: EngineKey
    about: About
    built: str = Field(description="UTC, ISO 8601")
    plan_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    plan_bytes: int
