"""What a device does with an input, up to where an engine would run it.

Knows the entrances. Does not know how inputs are made. Each returns when the input was taken, or raises.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from bundlefuzz import bases, pictures
from diffad_runtime import DecisionRules, FakeEngine, Inspector
from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.drift import drift
from diffad_runtime.enginecache.key import DeviceFacts
from diffad_runtime.enginecache.ranking import find_ranking
from diffad_runtime.enginecache.store import kept_engines
from diffad_runtime.errors import BundleError, DataError, InputError
from diffad_runtime.imagefile import read_image, read_mask
from diffad_runtime.line.wiring import load_wiring
from diffad_runtime.manifest import ImageScore
from diffad_runtime.models.state import parse_state
from diffad_runtime.recipes.load import ignore_image_names, load_recipe
from diffad_runtime.regions.plan import Plan
from diffad_runtime.replay import replay
from diffad_runtime.selfcheck import check_golden
from diffad_runtime.trust.signature import parse_signature
from diffad_runtime.trust.versions import read_versions, too_old_to_run

RULES = DecisionRules(pixel_threshold=1.5, image_threshold=2.5, image_score=ImageScore(pixels=9))
DEVICE = DeviceFacts(tensorrt="10", cuda="12", compute_capability="8.7", multiprocessors=8, gpu="g", l4t="")
DIGEST = "ab" * 32
NOW = datetime(2026, 11, 27, tzinfo=timezone.utc)
_LARGEST_FAKE = 256


class _Yes:
    """A key that signed whatever it is shown: the rest of the check is what is looked at."""

    def signed(self, message: bytes, signature: bytes) -> bool:
        return bool(message and signature)


_YES = _Yes()


class Targets:
    """Entrances, each with its files in a folder of its own.

    Args:
        folder: empty; may be written to between runs only.
    """

    def __init__(self, folder: Path) -> None:
        self.bundle_path = folder / "m.diffad"
        self.recipe_path, self.mask_path = folder / "recipe" / "r.toml", folder / "recipe" / "mask.png"
        self.picture_path = folder / "pictures" / "p.png"
        self.archive = folder / "archive"
        self.session = self.archive / "20261127T101500Z"
        self.cache = folder / "cache"
        for made in (
            self.recipe_path.parent,
            self.picture_path.parent,
            self.session,
            self.cache / "engines",
            self.cache / "rankings",
        ):
            made.mkdir(parents=True)
        self.line_path = folder / "line.toml"
        self.versions_path = folder / "versions.json"
        about = {"made_by": "diffad-edge archive", "format": 1, "began": "2026-11-27T10:15:00+00:00"}
        (self.session / "session.json").write_text(json.dumps(about) + "\n")
        self.mask = pictures.plain(120, 90, 0, 1)
        self.frame = pictures.plain(bases.SIDE, bases.SIDE)
        self.side_path = self.cache / "engines" / "extractor.fp16.0123456789abcdef.json"
        self.side_path.with_suffix(".plan").write_bytes(b"plan")
        self.ranking_path = self.cache / "rankings" / f"{DIGEST[:16]}-{DEVICE.name}.json"

    def bundle(self, data: bytes) -> Callable[[], None]:
        """A .diffad file: opened, and everything in it looked at."""
        self.bundle_path.write_bytes(data)
        return lambda: _use(open_bundle(self.bundle_path))

    def recipe(self, data: bytes, mask: bytes = b"") -> Callable[[], None]:
        """A recipe with the picture beside it: read, and laid out on a frame."""
        self.recipe_path.write_bytes(data)
        self.mask_path.write_bytes(mask or self.mask)

        def work() -> None:
            ignore_image_names(self.recipe_path)
            recipe = load_recipe(self.recipe_path)
            width, height = recipe.frame or (120, 90)
            if width * height <= 1 << 16:
                Plan.of(recipe, RULES, bases.SIDE, (height, width))

        return work

    def wiring(self, data: bytes) -> Callable[[], None]:
        """How a station is wired."""
        self.line_path.write_bytes(data)

        def work() -> None:
            load_wiring(self.line_path)

        return work

    def picture(self, data: bytes) -> Callable[[], None]:
        """An image file of a folder that is scored."""
        self.picture_path.write_bytes(data)

        def work() -> None:
            read_mask(self.picture_path)
            read_image(self.picture_path)

        return work

    def archived(self, lines: bytes, picture: bytes = b"") -> Callable[[], None]:
        """A session of the archive: replayed."""
        (self.session / "frames.jsonl").write_bytes(lines)
        (self.session / str(bases.record()["file"])).write_bytes(picture or self.frame)

        def work() -> None:
            inspector = Inspector(FakeEngine(bases.SIDE), RULES, bundle_digest=DIGEST)
            report = replay(self.archive, inspector, allow_other=True)
            json.dumps(report.to_json())
            if report.corrupt or report.missing or not report.compared:
                raise DataError("named in the report as corrupt or missing", mend="Nothing")

        return work

    def signature(self, data: bytes) -> Callable[[], None]:
        """manifest.sig by itself: read, and held against a time. The key says yes to everything."""

        def work() -> None:
            fault = parse_signature(data).fault(_YES, b"manifest", NOW)  # type: ignore[arg-type]
            if fault:
                raise BundleError(fault, mend="Nothing")

        return work

    def remembered(self, state: bytes, versions: bytes) -> Callable[[], None]:
        """What a models folder remembers."""
        self.versions_path.write_bytes(versions)

        def work() -> None:
            known = parse_state(state, "state.json")
            seen = read_versions(self.versions_path)
            for one in known.kept:
                too_old_to_run(seen, one.model_id, one.version)
            if known.wanted is None or not seen:
                raise InputError("remembers nothing", mend="Nothing")

        return work

    def digest_of(self, picture: bytes) -> str:
        """For a record's file_sha256."""
        return hashlib.sha256(picture or self.frame).hexdigest()

    def kept(self, side: bytes, ranking: bytes) -> Callable[[], None]:
        """Records of the engine cache."""
        self.side_path.write_bytes(side)
        self.ranking_path.write_bytes(ranking)

        def work() -> None:
            (kept,) = kept_engines(self.cache)
            found = find_ranking(self.cache, DIGEST, DEVICE)
            if kept.fault or found is None:
                raise InputError("not taken", mend="Build again")

        return work


def _use(bundle: Bundle) -> None:
    """Everything that a verified bundle is asked for before and after an engine is made."""
    manifest = bundle.manifest
    for name in manifest.members:
        bundle.read(name)
    manifest.model_dump_json()
    bundle.parity()
    DecisionRules.of(manifest)
    if manifest.normal_scores is not None:
        drift(manifest.normal_scores, [0.1, 1.5, 0.7, 0.2, 0.9, 1.1])
    bundle.golden()
    if manifest.input_size % 8 == 0 and manifest.input_size <= _LARGEST_FAKE:
        engine = FakeEngine(manifest.input_size)
        engine.variant = manifest.default_variant
        check_golden(bundle, engine)
