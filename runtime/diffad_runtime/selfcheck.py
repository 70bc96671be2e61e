"""Golden frames run again: does this machine, with this engine, judge as torch judged where the bundle was made?

Knows what a golden record says and which figures decide. Does not know how an engine is built, nor where findings go.

A difference is measured as parity.py does. Where the bundle keeps torch's own maps, maps are compared value by value,
both rounded to float16. Where it keeps records alone, a map's mean and maximum stand for it: neither differs by more
than the values do, so that check is a weaker one with the same tolerances.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from diffad_runtime.bundle import Bundle, GoldenFrame
from diffad_runtime.bundle.strictjson import one_line
from diffad_runtime.engines.base import Engine
from diffad_runtime.engines.choice import choose, runnable
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.engines.select import open_engine
from diffad_runtime.errors import BundleError, EngineError, GateError, InputError, MissingExtraError
from diffad_runtime.geometry import to_input
from diffad_runtime.parity import FrameOutcome, FrameParity, Parity, check, compare, in_units, summary
from diffad_runtime.result import FloatMap
from diffad_runtime.rules import DecisionRules
from diffad_runtime.scoring import image_score

_HALF_MAX = float(np.finfo(np.float16).max)
_NO_FRAMES = "the bundle holds no golden frames to check with"


class _Record(BaseModel):
    """What is read of golden/NN.json. The decision is the score's against the threshold in force, not the one then."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, strict=True)

    score: float
    map_mean: float
    map_max: float


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """What golden frames say of one variant on one engine.

    Attributes:
        variant, precision, target: of the bundle.
        backend: the engine's, or the one that was asked for where none could be made.
        status: "passed"; "refused": another answer than torch's; "failed": no answer.
        reason: why it did not pass, one line, else "".
        against: what the frames were compared with: torch's "maps", or "records" of them alone; "" with nothing.
        names: of the golden frames.
        parity: the figures, frames in the order of `names`; None where nothing was measured.
    """

    variant: str
    precision: str
    target: str
    backend: str
    status: Literal["passed", "refused", "failed"]
    reason: str
    against: Literal["maps", "records", ""]
    names: tuple[str, ...]
    parity: Parity | None

    @property
    def passed(self) -> bool:
        """Whether every frame got torch's answer, within the tolerance of the precision."""
        return self.status == "passed"

    @property
    def foreign(self) -> bool:
        """Whether another backend ran the variant than the one it is made for."""
        return self.target == "tensorrt" and self.backend != "tensorrt"

    def require(self) -> None:
        """Go on only where it passed.

        Raises:
            GateError: refused.
            EngineError: failed.
        """
        if self.status == "refused":
            raise GateError(
                f"variant {self.variant!r} on {self.backend} does not judge the golden frames as torch does: "
                f"{self.reason}",
                mend="Run another variant, or export the bundle again",
            )
        if self.status == "failed":
            raise EngineError(
                f"variant {self.variant!r} on {self.backend} cannot be checked: {self.reason}",
                mend="Run another variant, or check the machine with 'diffad-edge doctor'",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: what was found, the worst figures, and those of every frame by name."""
        found: dict[str, Any] = {
            "precision": self.precision,
            "target": self.target,
            "backend": self.backend,
            "foreign": self.foreign,
            "status": self.status,
            "reason": self.reason,
            "against": self.against,
        }
        if self.parity is not None:
            figures = self.parity.to_dict()
            figures["frames"] = {name: asdict(one) for name, one in zip(self.names, self.parity.frames, strict=True)}
            found |= figures
        return found


def check_golden(bundle: Bundle, engine: Engine) -> GoldenCheck:
    """Run the golden frames and hold the answers against the recorded ones, by the tolerance of the precision.

    A mismatch is a finding, not an error; call `require()` on what comes back where it must not go on. No decision on a
    golden frame may flip, whatever the precision: they are frames whose decision is clear.

    Args:
        engine: of any backend; its `variant` is one of the bundle. Not closed.

    Raises:
        EngineError: the engine fails, or gives NaN or infinity.
        BundleError: a golden record without the figures that are needed.
        InputError: the engine runs no variant of this bundle.
    """
    if engine.variant not in bundle.manifest.variants or engine.input_size != bundle.manifest.input_size:
        raise InputError(
            f"the engine runs variant {engine.variant!r} at {engine.input_size} px, the bundle has "
            f"{', '.join(bundle.manifest.variants)} at {bundle.manifest.input_size} px",
            mend="Open the engine from this bundle",
        )
    frames = bundle.golden()
    if not frames:
        return _found(bundle, engine.variant, engine.backend, _NO_FRAMES)
    records = [_record(frame) for frame in frames]
    rules = DecisionRules.of(bundle.manifest)

    def outcome(anomaly: FloatMap, score: float) -> FrameOutcome:
        return FrameOutcome(anomaly, score, score > rules.image_threshold)

    answers = []
    for frame in frames:
        anomaly = engine.infer(to_input(frame.image, engine.input_size)).anomaly
        answers.append(outcome(anomaly, image_score(anomaly, rules.image_score)))
    maps = [frame.map for frame in frames if frame.map is not None]
    if len(maps) == len(frames):
        reference = [outcome(one, record.score) for one, record in zip(maps, records, strict=True)]
        parity = compare(reference, [outcome(_as_stored(one.map), one.score) for one in answers])
    else:
        parity = _against_records(records, answers, rules.image_threshold)
    reason = _reason(parity, bundle.manifest.variants[engine.variant].precision, frames)
    return _found(bundle, engine.variant, engine.backend, reason, frames, parity)


def check_variants(
    bundle: Bundle,
    backend: str = "auto",
    variants: Sequence[str] | None = None,
    *,
    threads: int | None = None,
    device: OnDevice | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> list[GoldenCheck]:
    """`check_golden` for several variants on this machine, each with an engine of its own; one after the other.

    Args:
        backend, threads, device: as `open_engine`.
        variants: None: all that the backend computes, those made for TensorRT on onnxruntime too.
        on_round: called with (done, all) after each variant.

    Returns:
        One finding a variant. An engine that cannot be made or fails is one as well: "failed".

    Raises:
        InputError: an unknown backend or variant, or one named twice.
        BundleError: a golden record without the figures that are needed.
    """
    if variants is None:
        backend = choose(bundle, backend).backend
    names = runnable(bundle, backend, foreign=True) if variants is None else list(variants)
    for name in names:
        bundle.variant(name)
    if len(set(names)) != len(names):
        raise InputError(f"expected different variants, got {', '.join(names)}", mend="Name each once")
    found: list[GoldenCheck] = []
    for name in names:
        try:
            with open_engine(bundle, backend, name, threads, foreign=True, device=device) as engine:
                found.append(check_golden(bundle, engine))
        except (EngineError, MissingExtraError) as error:
            found.append(_found(bundle, name, backend, error.what, failed=True))
        if on_round is not None:
            on_round(len(found), len(names))
    return found


def _found(
    bundle: Bundle,
    variant: str,
    backend: str,
    reason: str,
    frames: Sequence[GoldenFrame] = (),
    parity: Parity | None = None,
    *,
    failed: bool = False,
) -> GoldenCheck:
    facts = bundle.manifest.variants[variant]
    return GoldenCheck(
        variant=variant,
        precision=facts.precision,
        target=facts.target,
        backend=backend,
        status="failed" if failed else "refused" if reason else "passed",
        reason=reason,
        against="" if not frames else "maps" if all(frame.map is not None for frame in frames) else "records",
        names=tuple(frame.name for frame in frames),
        parity=parity,
    )


def _record(frame: GoldenFrame) -> _Record:
    try:
        return _Record.model_validate(frame.record)
    except ValidationError as error:
        raise BundleError(
            f"the record of golden frame {frame.name} is not complete: {one_line(error)}",
            mend="Export the bundle again with 'diffad-edge export'",
        ) from error


def _as_stored(anomaly: FloatMap) -> FloatMap:
    """As the reference is kept: an engine that gives torch's very map differs by nothing."""
    return np.clip(anomaly, -_HALF_MAX, _HALF_MAX).astype(np.float16).astype(np.float32)


def _against_records(records: Sequence[_Record], answers: Sequence[FrameOutcome], threshold: float) -> Parity:
    """Parity by mean, maximum and score alone.

    The spread of torch's maps is not recorded. It is this engine's, scaled by how far recorded and own maps rise above
    their means: an engine whose maps are all k times too large does not hide behind a k times larger spread.
    """
    rise = sum(record.map_max - record.map_mean for record in records)
    values = np.concatenate([one.map.ravel() for one in answers]).astype(np.float64)
    means = [float(one.map.mean(dtype=np.float64)) for one in answers]
    own = sum(float(one.map.max()) - mean for one, mean in zip(answers, means, strict=True))
    spread = (float(values.std()) * rise / own if own > 0 else 0.0) or 1.0

    def units(reference: float, other: float) -> float:
        return float(in_units(np.float64(reference), np.float64(other), spread))

    return summary(
        spread,
        [
            FrameParity(
                map_max=units(record.map_max, float(answer.map.max())),
                map_mean=units(record.map_mean, mean),
                score=units(record.score, answer.score),
                flipped=answer.ng != (record.score > threshold),
            )
            for record, answer, mean in zip(records, answers, means, strict=True)
        ],
    )


def _reason(parity: Parity, precision: str, frames: Sequence[GoldenFrame]) -> str:
    try:
        check(parity, precision)
    except GateError as error:
        return error.what
    if parity.flips:
        names = [frame.name for frame, one in zip(frames, parity.frames, strict=True) if one.flipped]
        return f"the decision flips on golden frame {', '.join(names)}, none is allowed"
    return ""
