"""Which variant of a bundle was the fastest on this device, as measured by `build --fastest`.

Knows one small file a bundle and device. Does not time anything, nor know whether a variant still judges right: that is
asked at every start.
"""

from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from diffad_runtime.atomic import replacing
from diffad_runtime.enginecache.key import DeviceFacts


class Ranking(BaseModel):
    """Contents of rankings/BUNDLE-DEVICE.json."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    bundle_digest: str
    device: DeviceFacts
    p50_ms: dict[str, float] = Field(description="image of the input size in, map out; fastest first")
    measured: str = Field(description="UTC, ISO 8601")


def keep_ranking(folder: Path, bundle_digest: str, device: DeviceFacts, p50_ms: dict[str, float]) -> Ranking:
    """Write down an order of variants.

    Args:
        folder: of the engine cache.
        p50_ms: variant -> median, in any order.

    Raises:
        InputError: the disk refused.
    """
    ranking = Ranking(
        bundle_digest=bundle_digest,
        device=device,
        p50_ms=dict(sorted(p50_ms.items(), key=lambda item: item[1])),
        measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    with replacing(_path(folder, bundle_digest, device)) as temporary:
        temporary.write_text(ranking.model_dump_json(indent=2), encoding="utf-8")
    return ranking


def find_ranking(folder: Path, bundle_digest: str, device: DeviceFacts) -> Ranking | None:
    """What was measured of this bundle on this device; None where nothing was, or the file is not valid."""
    try:
        found = Ranking.model_validate_json(_path(folder, bundle_digest, device).read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None
    return found if (found.bundle_digest, found.device) == (bundle_digest, device) else None


def _path(folder: Path, bundle_digest: str, device: DeviceFacts) -> Path:
    return folder / "rankings" / f"{bundle_digest[:16]}-{device.name}.json"
