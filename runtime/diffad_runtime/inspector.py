"""One object that judges frames: with an engine, by rules and recipes, from any number of threads.

Knows what a usable frame is and which recipe is in force. Does not know how a map becomes a verdict (regions/plan.py),
cameras, sinks or how an engine works.
"""

import math
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.engines.base import Engine
from diffad_runtime.engines.ondevice import OnDevice
from diffad_runtime.errors import DiffadError, EngineError, InputError, RecipeError
from diffad_runtime.feed import Feed
from diffad_runtime.frameguard import FrameGuard
from diffad_runtime.manifest import Manifest
from diffad_runtime.model import Bench, Model, gone
from diffad_runtime.recipes import Recipe, RecipeBook
from diffad_runtime.result import ErrorCode, Frame, Image, Result, SourceState, Verdict
from diffad_runtime.rules import DecisionRules
from diffad_runtime.sources import Source, open_source
from diffad_runtime.startup import start


class Inspector:
    """Judges frames with one bundle. Safe to call from several threads: the engine takes as many frames at a time as it
    can, the others wait.

    Args:
        engine: owned from now on, closed with the inspector.
        rules: thresholds and scoring.
        bundle_digest: for the results.
        manifest: of the bundle; None for an engine without one.
        recipes: what is looked at on which product; None: the whole frame, by the rules alone.
        recipe: name or index of the one in force; None: the only one there is.

    Attributes:
        recipes, recipe: as above; may be set between frames.
    """

    def __init__(
        self,
        engine: Engine,
        rules: DecisionRules,
        *,
        bundle_digest: str = "",
        manifest: Manifest | None = None,
        recipes: RecipeBook | None = None,
        recipe: str | int | None = None,
    ) -> None:
        self._bench = Bench(Model(engine, rules, bundle_digest, manifest))
        self.recipes = recipes
        self.recipe = recipe
        self._changed = threading.Lock()
        self._closed = False
        self._counted = 0
        self._feeds: weakref.WeakSet[Feed] = weakref.WeakSet()

    @classmethod
    def open(
        cls,
        path: str | Path | Bundle,
        backend: str = "auto",
        variant: str | None = None,
        threads: int | None = None,
        *,
        pixel_threshold: float | None = None,
        image_threshold: float | None = None,
        device: OnDevice | None = None,
        recipes: str | Path | RecipeBook | None = None,
        recipe: str | int | None = None,
    ) -> "Inspector":
        """Verify a bundle, make its engine, and hold it against the bundle's golden frames.

        Where TensorRT is used, the first call on a device builds engines, which takes minutes; they are kept.

        Args:
            path: NAME.diffad, or an opened bundle.
            backend: "auto", "onnxruntime", "tensorrt", "onnxruntime-cuda" or "onnxruntime-tensorrt".
            variant: of the bundle; None: as startup.start tries them.
            threads: on the CPU; None: as many as this process may use.
            pixel_threshold, image_threshold: in place of the bundle's.
            device: how engines are built and kept, and who is told; None: the user's cache folder, and the log.
            recipes: a recipe file, a folder of them, or an open book; None: the whole frame, by the bundle's rules.
            recipe: name or index of the one in force; None: the only one there is, or each part says which.

        Raises:
            BundleError: the bundle must not be trusted.
            InputError: unknown backend or variant, NaN as threshold, a bad recipe or one that there is not.
            EngineError, MissingExtraError: the engine cannot be made or does not run.
            GateError: it does not judge the golden frames as torch did.
        """
        bundle = path if isinstance(path, Bundle) else open_bundle(path)
        rules = DecisionRules.of(bundle.manifest).with_thresholds(pixel=pixel_threshold, image=image_threshold)
        book = RecipeBook.open(recipes) if isinstance(recipes, str | Path) else recipes
        if book is None and recipe is not None:
            raise InputError(f"there is no recipe {recipe!r}, none were loaded", mend="Give --recipe")
        for one in book.recipes if book is not None else ():
            one.check_bundle(bundle.manifest.model_id, bundle.digest)
        if book is not None and recipe is not None:
            book.get(recipe)
        started = start(bundle, backend, variant, threads, device=device)
        # Only the manifest and the digest are kept: the engine holds its own copy of the graphs.
        return cls(
            started.engine,
            rules,
            bundle_digest=bundle.digest,
            manifest=bundle.manifest,
            recipes=book,
            recipe=recipe,
        )

    def inspect(self, frame: Image | Frame, part_id: str = "", recipe: str | int | None = None) -> Result:
        """Judge one frame.

        Args:
            frame: uint8 (H, W, 3) BGR or (H, W) grey, or a Frame that holds one. Never written to.
            part_id: for the result.
            recipe: by name or index; None: the one in force.

        Raises:
            InputError: not such an array.
            EngineError: the engine failed, or the inspector is closed.
        """
        if not isinstance(frame, Frame):
            _check(frame)
            with self._changed:
                frame_id = self._counted
                self._counted += 1
            frame = Frame(frame, frame_id, time.monotonic(), datetime.now(timezone.utc))
        return self._inspect(frame, part_id, recipe)

    def judge(self, frame: Frame, part_id: str = "", recipe: str | int | None = None) -> Result:
        """As `inspect`, but a frame that cannot be judged gives a Result with Verdict.ERROR instead of an exception."""
        start = time.perf_counter()
        try:
            return self._inspect(frame, part_id, recipe)
        except Exception as error:  # fail-safe: whatever went wrong, this part gets a verdict, ERROR
            reason = str(error) if isinstance(error, DiffadError) else f"{type(error).__name__}: {error}"
            elapsed = 1e3 * (time.perf_counter() - start)
            return self.refused(frame, " ".join(reason.split()), part_id, elapsed, _code(error))

    def stream(self, source: str | Source) -> Iterator[Result]:
        """Judge what a camera, clip or folder gives, until it ends or the inspector is closed.

        A live source is read on a thread of its own and only its newest frame is judged; a frozen picture, or one of
        another size than the first one, is ERROR.

        Args:
            source: URI, or an opened source; closed at the end.

        Raises:
            SourceError: at once, where the URI cannot be opened; while iterating, where the source breaks.
            EngineError: the inspector is closed.
        """
        feed = self.feed(open_source(source) if isinstance(source, str) else source)
        return self._results(feed)

    def feed(self, source: Source) -> Feed:
        """A feed over an opened source that ends when this inspector is closed.

        Raises:
            EngineError: the inspector is closed; the source is then closed as well.
        """
        feed = Feed(source)
        with self._changed:
            closed = self._closed
            self._feeds.add(feed)
        if closed:
            feed.close()
            raise gone()
        return feed

    @property
    def engine(self) -> Engine:
        """What infers now; owned by the inspector."""
        return self._bench.model.engine

    @property
    def rules(self) -> DecisionRules:
        """In force; may be set between frames."""
        return self._bench.model.rules

    @rules.setter
    def rules(self, rules: DecisionRules) -> None:
        self._bench.model.rules = rules

    @property
    def bundle_digest(self) -> str:
        """Of the bundle that judges now."""
        return self._bench.model.bundle_digest

    @property
    def manifest(self) -> Manifest | None:
        """Of the bundle that judges now."""
        return self._bench.model.manifest

    def take_over(self, other: "Inspector") -> None:
        """From the next frame on, judge with another inspector's model; feeds, recipes and counts stay.

        Frames under judgement are finished by the model that began them; its engine is closed after the last of them.
        No frame waits for that, and none is judged by halves of both.

        Args:
            other: not used anywhere else; empty afterwards, as if closed.

        Raises:
            RecipeError: a recipe in force is not made for that bundle; nothing has changed then, `other` stays open.
            EngineError: one of both is closed.
        """
        model = other._bench.model
        for one in self.recipes.recipes if self.recipes is not None else ():
            one.check_bundle("" if model.manifest is None else model.manifest.model_id, model.bundle_digest)
        self._bench.exchange(other._bench.give())
        other.close()

    @property
    def failures(self) -> int:
        """Times in a row that the engine failed, 0 after a frame that it judged."""
        return self._bench.failures

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def close(self) -> None:
        """End all streams, wait for the frames under judgement, free the engine. Twice is harmless."""
        with self._changed:
            self._closed = True
            feeds = list(self._feeds)
        self._bench.close()
        for feed in feeds:
            feed.close()

    def __enter__(self) -> "Inspector":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _results(self, feed: Feed) -> Iterator[Result]:
        guard = FrameGuard(live=feed.source.live)
        try:
            for frame in feed:
                reason = guard.refuse(frame)
                result = self.refused(frame, reason) if reason else self.judge(frame)
                if self._closed:  # between taking the frame and judging it
                    return
                yield result
        finally:
            feed.close()

    def _inspect(self, frame: Frame, part_id: str, recipe: str | int | None) -> Result:
        _check(frame.image)
        start = time.perf_counter()
        with self._bench.use() as model:  # a frame is judged by one model, whole
            chosen = self._chosen(recipe, model)
            plan = model.plans.of(chosen, model.rules, frame.image.shape)
            judged = plan.judge(frame.image, partial(self._bench.infer, model))
        return Result(
            frame_id=frame.frame_id,
            t_capture=frame.t_capture,
            score=judged.score,
            verdict=judged.verdict,
            mask=judged.mask,
            anomaly_map=judged.anomaly_map,
            latency_ms={
                "resize": judged.resize_ms,
                "extract": judged.extract_ms,
                "reconstruct": judged.reconstruct_ms,
                "mask": judged.mask_ms,
                "total": 1e3 * (time.perf_counter() - start),
            },
            bundle_digest=model.bundle_digest,
            variant=model.engine.variant,
            backend=model.engine.backend,
            image_threshold=judged.image_threshold,
            pixel_threshold=judged.pixel_threshold,
            part_id=part_id,
            recipe="" if chosen is None else chosen.name,
            name=frame.name,
            defects=judged.defects,
            regions=judged.regions,
        )

    def _chosen(self, key: str | int | None, model: Model) -> Recipe | None:
        """The recipe for a frame: whatever is in force now, so that an edit counts from the next frame on."""
        key = self.recipe if key is None else key
        if self.recipes is None:
            if key is not None:
                raise RecipeError(f"there is no recipe {key!r}, none were loaded", mend="Give --recipe")
            return None
        recipe = self.recipes.get(key)
        recipe.check_bundle("" if model.manifest is None else model.manifest.model_id, model.bundle_digest)
        return recipe

    def refused(
        self, frame: Frame, reason: str, part_id: str = "", elapsed_ms: float = 0.0, code: ErrorCode | None = None
    ) -> Result:
        """A Result with Verdict.ERROR, for a frame that must not or cannot be judged.

        Args:
            frame: as it came, whatever it holds.
            reason: one line.
            part_id: for the result.
            elapsed_ms: spent on it so far.
            code: None: the picture's fault, frozen or unfit.
        """
        if code is None:
            code = ErrorCode.FROZEN if frame.source_state is SourceState.STALLED else ErrorCode.PICTURE
        model = self._bench.model
        size = model.engine.input_size
        shape = frame.image.shape[:2] if isinstance(frame.image, np.ndarray) and frame.image.ndim >= 2 else (0, 0)
        return Result(
            frame_id=frame.frame_id,
            t_capture=frame.t_capture,
            score=math.nan,
            verdict=Verdict.ERROR,
            mask=np.zeros(shape, np.uint8),
            anomaly_map=np.full((size, size), np.nan, np.float32),
            latency_ms={"resize": 0.0, "extract": 0.0, "reconstruct": 0.0, "mask": 0.0, "total": elapsed_ms},
            bundle_digest=model.bundle_digest,
            variant=model.engine.variant,
            backend=model.engine.backend,
            image_threshold=model.rules.image_threshold,
            pixel_threshold=model.rules.pixel_threshold,
            part_id=part_id,
            recipe=str(self.recipe) if self.recipe is not None else "",
            name=frame.name,
            error=reason,
            code=code,
        )


def _check(image: object) -> None:
    expected = "expected a uint8 array (H, W, 3) in BGR, or (H, W) grey"
    if not isinstance(image, np.ndarray):
        raise InputError(f"the frame is a {type(image).__name__}, {expected}", mend="Pass a numpy array")
    if image.dtype != np.uint8:
        raise InputError(
            f"the frame is {image.dtype} {image.shape}, {expected}", mend="Convert it to uint8, 0 to 255, first"
        )
    if image.ndim not in {2, 3} or (image.ndim == 3 and image.shape[2] != 3):
        raise InputError(f"the frame has the shape {image.shape}, {expected}", mend="Drop or convert its channels")
    if image.size == 0:
        raise InputError(f"the frame is empty, shape {image.shape}, {expected}", mend="Check the camera")


def _code(error: Exception) -> ErrorCode:
    if isinstance(error, EngineError):
        return ErrorCode.ENGINE
    if isinstance(error, RecipeError):
        return ErrorCode.RECIPE
    return ErrorCode.PICTURE if isinstance(error, InputError) else ErrorCode.INTERNAL
