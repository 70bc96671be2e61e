"""What judges, an engine with the rules for its maps, and how one is exchanged for another while frames are judged.

Knows who uses which engine, and when the last one is done with it. Does not know frames, recipes or bundles
(inspector.py).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from diffad_runtime.engines.base import Engine, RawMaps
from diffad_runtime.errors import EngineError
from diffad_runtime.manifest import Manifest
from diffad_runtime.regions.plan import Plans
from diffad_runtime.result import Image
from diffad_runtime.rules import DecisionRules


@dataclass(eq=False, slots=True)
class Model:
    """One bundle at work: what belongs together is exchanged together.

    Attributes:
        engine: owned.
        rules: thresholds and scoring.
        bundle_digest: for the results.
        manifest: None for an engine without a bundle.
        plans: made for this engine's input.
        frames: under judgement now.
        running: calls of the engine now; a frame cut into tiles makes several, one after the other.
    """

    engine: Engine
    rules: DecisionRules
    bundle_digest: str = ""
    manifest: Manifest | None = None
    plans: Plans = field(init=False)
    frames: int = 0
    running: int = 0

    def __post_init__(self) -> None:
        self.plans = Plans(self.engine.input_size)


class Bench:
    """Holds the model that judges, and those that still finish a frame. For any thread.

    Attributes:
        model: for the next frame.
        failures: times in a row that its engine failed.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.failures = 0
        self._retired: list[Model] = []
        self._changed = threading.Condition()
        self._closed = False
        self._given = False  # the model is another's, or closed

    @property
    def closed(self) -> bool:
        """Whether close() or give() was called."""
        return self._closed

    @contextmanager
    def use(self) -> Iterator[Model]:
        """The model for one frame; its engine stays open for the block, whoever takes over meanwhile.

        Raises:
            EngineError: closed.
        """
        with self._changed:
            if self._closed:
                raise gone()
            model = self.model
            model.frames += 1
        try:
            yield model
        finally:
            with self._changed:
                model.frames -= 1
            if model is not self.model:
                self._bury()

    def infer(self, model: Model, small: Image) -> RawMaps:
        """Run its engine, as soon as it takes one more call.

        Raises:
            EngineError: it failed, or the bench was closed meanwhile.
        """
        with self._changed:
            while model.running >= model.engine.lanes and not self._closed:
                self._changed.wait()
            if self._closed:
                raise gone()
            model.running += 1
        failed = True
        try:
            maps = model.engine.infer(small)
            failed = False
        finally:
            with self._changed:
                model.running -= 1
                if model is self.model:
                    self.failures = self.failures + 1 if failed else 0
                self._changed.notify_all()
        return maps

    def exchange(self, model: Model) -> None:
        """From the next frame on, `model`; the engine before is closed after its last frame.

        Raises:
            EngineError: closed; `model` is closed then, too.
        """
        with self._changed:
            closed = self._closed
            if not closed:
                self._retired.append(self.model)
                self.model, self.failures = model, 0
        if closed:
            model.engine.close()
            raise gone()
        self._bury()

    def give(self) -> Model:
        """The model, for another bench; this one is closed from now on, and owns nothing.

        Raises:
            EngineError: closed.
        """
        with self._changed:
            if self._closed:
                raise gone()
            self._closed = self._given = True
            self._changed.notify_all()
        return self.model

    def close(self) -> None:
        """Wait for the engine calls that run, and close all engines. Twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            owned = [*self._retired] if self._given else [self.model, *self._retired]
            while any(model.running for model in owned):
                self._changed.wait()
            first, self._given = not self._given, True
            self._retired.clear()
        for model in owned if first else ():
            model.engine.close()

    def _bury(self) -> None:
        """Close the engines of models that judge no frame any more."""
        with self._changed:
            over = [model for model in self._retired if not (model.frames or model.running)]
            self._retired = [model for model in self._retired if model not in over]
        for model in over:
            model.engine.close()


def gone() -> EngineError:
    """What a closed inspector says."""
    return EngineError("the inspector is closed", mend="Open the bundle again")
