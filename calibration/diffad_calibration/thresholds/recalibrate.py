"""New thresholds for a finished bundle, from new frames of good parts: no training, no new graphs, no torch, no onnx.

For the device: light, camera or material have changed a little, or the frames of the workstation were not those of the
line. Whatever decides what the network answers stays byte for byte; thresholds and normal scores are set anew, and the
manifest counts on. Knows bundles and thresholds. Does not know how frames are refused (freshframes.py).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from diffad_calibration.thresholds.conformal import uniform_bound
from diffad_calibration.thresholds.freshframes import FreshFrames, Progress, judge_frame, judge_good_frames
from diffad_calibration.thresholds.labelled import LabelledThreshold, labelled_threshold
from diffad_calibration.thresholds.labelledfolder import labelled_frames, labelled_kinds
from diffad_calibration.thresholds.normalscores import normal_scores
from diffad_calibration.thresholds.setting import DEFAULT_RATE, conformal_thresholds, too_few
from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.errors import DataError, InputError
from diffad_runtime.inspector import Inspector
from diffad_runtime.manifest import Manifest, Thresholds
from diffad_runtime.rules import DecisionRules
from diffad_runtime.sources import open_source
from diffad_runtime.startup import start

_GOLDEN = "golden/"

MOST_ABOVE = 0.2
"""Share of the new frames that may lie above the old threshold. Good parts do so one in a hundred times; where light or
camera changed it may be more, and then somebody has to say so."""


@dataclass(frozen=True, slots=True)
class RecalibrateOptions:
    """How it is asked for.

    Attributes:
        frames: to take; None: all, of a source that ends.
        false_reject_rate: share of good parts that may be rejected; None: what the bundle was made for. With `labelled`
            the ceiling on labelled good images, None: no ceiling.
        labelled: folder with good and defective images, to choose the image threshold between them.
        backend, variant, threads, device: as startup.start.
        force: also where more than MOST_ABOVE of the new frames lie above the old threshold.
    """

    frames: int | None = None
    false_reject_rate: float | None = None
    labelled: Path | None = None
    backend: str = "auto"
    variant: str | None = None
    threads: int | None = None
    force: bool = False
    device: OnDevice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """What was done.

    Attributes:
        out: the new bundle.
        before, after: manifests.
        frames: new good frames that the thresholds were set on.
        old_rejects: of these, above the old image threshold.
        new_rejects: above the new one.
        highest: names and scores of the highest of them.
        golden_changed: golden frames whose verdict is another now.
        signature_dropped: the old bundle was signed, the new one is not.
        warnings: one line each.
    """

    out: Path
    digest: str
    before: Manifest
    after: Manifest
    frames: int
    old_rejects: int
    new_rejects: int
    highest: list[tuple[str, float]]
    golden_changed: int
    signature_dropped: bool
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "bundle": str(self.out),
            "digest": self.digest,
            "model_id": self.after.model_id,
            "version": self.after.version,
            "frames": self.frames,
            "old": self.before.thresholds.model_dump(mode="json"),
            "new": self.after.thresholds.model_dump(mode="json"),
            "old_threshold_rejects": self.old_rejects,
            "new_threshold_rejects": self.new_rejects,
            "highest": [{"name": name, "score": score} for name, score in self.highest],
            "golden_verdicts_changed": self.golden_changed,
            "signature_dropped": self.signature_dropped,
            "warnings": self.warnings,
        }


def recalibrate(
    model: Path, good: str, out: Path, options: RecalibrateOptions, progress: Progress = lambda _done, _total: None
) -> Recalibration:
    """Judge new good frames with a bundle's engine and write the bundle with thresholds of these.

    Args:
        model: the bundle; read once.
        good: folder, clip or camera, as open_source takes them: frames of good parts only.
        out: the new bundle. The same path as `model` replaces it, whole or not at all.

    Raises:
        BundleError, EngineError, SourceError: model or source cannot be opened.
        InputError: `out` is `model` by another name; a rate outside (0, 1).
        DataError: frames that cannot be used (freshframes.py), or too many above the old threshold, without `force`.
    """
    _check(model, out, options.false_reject_rate)
    kinds = labelled_kinds(options.labelled) if options.labelled else []  # looked for before the work, read after it
    bundle = open_bundle(model)
    manifest = bundle.manifest
    engine = start(bundle, options.backend, options.variant, options.threads, device=options.device).engine
    with Inspector(engine, DecisionRules.of(manifest), bundle_digest=bundle.digest, manifest=manifest) as inspector:
        rate = manifest.thresholds.pixel_rate
        source = open_source(good)
        fresh = judge_good_frames(inspector, source, frames=options.frames, pixel_rate=rate, progress=progress)
        _guard(fresh, manifest.thresholds.image, force=options.force)
        answers = [(judge_frame(inspector, frame).score, label) for frame, label in labelled_frames(kinds)]
    limits = _thresholds(fresh, manifest.thresholds, answers, options)
    how = {"source": _kind(source.uri), "backend": engine.backend, "variant": engine.variant, "forced": options.force}
    after, members, changed = _renewed(bundle, limits, fresh, how)
    write_bundle(out, after, members)
    warnings = fresh.warnings() + ([few] if (few := too_few(limits)) else [])
    if engine.variant != manifest.default_variant:
        warnings.append(f"set with variant {engine.variant}; by itself the bundle runs {manifest.default_variant}")
    return Recalibration(
        out=out,
        digest=open_bundle(out).digest,
        before=manifest,
        after=after,
        frames=len(fresh.scores),
        old_rejects=fresh.above(manifest.thresholds.image),
        new_rejects=fresh.above(limits.image),
        highest=fresh.highest(),
        golden_changed=changed,
        signature_dropped=bundle.signature is not None,
        warnings=warnings,
    )


def _check(model: Path, out: Path, rate: float | None) -> None:
    if rate is not None and not 0 < rate < 1:
        raise InputError(f"the false reject rate is {rate}, expected between 0 and 1", mend="Use, say, 0.001")
    if out.exists() and model.exists() and model.samefile(out) and _entry(model) != _entry(out):
        raise InputError(
            f"{out} is {model} by another name", mend="Name it alike to replace it, or choose another --out"
        )


def _entry(path: Path) -> Path:
    """The name in its folder, whichever way the path takes there; a link is a name of its own."""
    return path.parent.resolve() / path.name


def _guard(fresh: FreshFrames, old: float, *, force: bool) -> None:
    above, count = fresh.above(old), len(fresh.scores)
    if above > MOST_ABOVE * count and not force:
        middle = sorted(fresh.scores)[count // 2]
        raise DataError(
            f"{above} of {count} new frames score above the threshold in force (median {middle:.4g}, threshold "
            f"{old:.4g}): defective parts, or another product, would be made the measure of good ones",
            mend="Look at them with 'diffad-edge score'; if all are good parts, add --force",
        )


def _thresholds(
    fresh: FreshFrames, old: Thresholds, answers: list[tuple[float, int]], options: RecalibrateOptions
) -> Thresholds:
    asked = options.false_reject_rate or (old.false_reject_rate if old.false_reject_rate < 1 else DEFAULT_RATE)
    limits, _ = conformal_thresholds(fresh.scores, fresh.tail, false_reject_rate=asked, shared=False)
    if not answers:
        return limits
    chosen = _labelled(fresh.scores, answers, options.false_reject_rate)
    return Thresholds.model_validate(
        limits.model_dump()
        | {
            "kind": "labelled",
            "image": chosen.threshold,
            "false_reject_rate": options.false_reject_rate or 1.0,
            "guaranteed_rate": 1.0,
            "confident_rate": uniform_bound(chosen.good, chosen.false_rejects),
            "labelled": chosen.figures(),
        }
    )


def _labelled(scores: list[float], answers: list[tuple[float, int]], ceiling: float | None) -> LabelledThreshold:
    found = scores + [score for score, _ in answers]
    labels = [0] * len(scores) + [label for _, label in answers]
    return labelled_threshold(found, labels, max_false_reject_rate=ceiling)


def _renewed(
    bundle: Bundle, limits: Thresholds, fresh: FreshFrames, how: dict[str, Any]
) -> tuple[Manifest, dict[str, bytes], int]:
    """The manifest and members of the new bundle, and how many golden verdicts are other ones now."""
    before = bundle.manifest
    members = {name: bundle.read(name) for name in before.members}
    judged_anew = dict(_other_verdicts(members, limits.image))
    members |= judged_anew
    now = datetime.now(timezone.utc).replace(microsecond=0)
    entry = {
        "from_digest": bundle.digest,
        "from_version": before.version,
        "time": now.isoformat(),
        "frames": len(fresh.scores),
        "copies_left_out": fresh.copies,
        **how,
        "old": before.thresholds.model_dump(mode="json"),
        "new": limits.model_dump(mode="json"),
    }
    earlier = before.provenance.get("recalibrated", [])
    history = [*(earlier if isinstance(earlier, list) else []), entry]
    after = before.model_copy(
        update={
            "version": before.version + 1,
            "created": now,
            "thresholds": limits,
            "normal_scores": normal_scores(fresh.scores),
            "members": describe_members(members),
            "provenance": {**before.provenance, "recalibrated": history},
        }
    )
    return after, members, len(judged_anew)


def _other_verdicts(members: dict[str, bytes], threshold: float) -> Iterator[tuple[str, bytes]]:
    """Golden records whose recorded score is judged otherwise by the new threshold."""
    for name, body in members.items():
        if name.startswith(_GOLDEN) and name.endswith(".json"):
            record = json.loads(body)
            score, verdict = record.get("score"), record.get("verdict")
            if isinstance(score, (int, float)) and verdict in {"OK", "NG"}:
                other = "NG" if score > threshold else "OK"
                if other != verdict:
                    yield name, json.dumps(record | {"verdict": other}, indent=2).encode() + b"\n"


def _kind(uri: str) -> str:
    """What kind of source it was; its address is nobody's business who is handed the bundle."""
    scheme, separator, _ = uri.partition("://")
    if separator:
        return scheme.lower()
    return "camera" if uri.isdigit() else "folder" if Path(uri).is_dir() else "file"
