"""One model takes over from another while frames are judged: each frame by one of them, and engines closed once."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from diffad_runtime import DecisionRules, FakeEngine, Inspector, Verdict
from diffad_runtime.engines.base import RawMaps
from diffad_runtime.errors import EngineError, RecipeError
from diffad_runtime.manifest import ImageScore
from diffad_runtime.recipes import RecipeBook
from diffad_runtime.result import Image

RULES = DecisionRules(pixel_threshold=0.5, image_threshold=0.6, image_score=ImageScore(pixels=9), min_defect_pixels=4)
GREY = np.full((48, 64, 3), 128, np.uint8)


class Watched(FakeEngine):
    """Says when it was closed, and whether it was running then or used afterwards."""

    def __init__(self, name: str, size: int = 32, seconds: float = 0.0) -> None:
        super().__init__(size)
        self.variant, self.closed, self.faults, self.running, self._seconds = name, 0, 0, 0, seconds

    def infer(self, image: Image) -> RawMaps:
        self.running += 1
        self.faults += bool(self.closed)
        time.sleep(self._seconds)
        maps = super().infer(image)
        self.running -= 1
        return maps

    def close(self) -> None:
        self.closed += 1
        self.faults += bool(self.running)
        super().close()


def _inspector(engine: FakeEngine, **options: object) -> Inspector:
    return Inspector(engine, RULES, bundle_digest=f"digest of {engine.variant}", **options)  # type: ignore[arg-type]


def test_frames_before_and_after() -> None:
    old, new = Watched("old"), Watched("new", 64)
    inspector, other = _inspector(old), _inspector(new)
    assert inspector.inspect(GREY).variant == "old"
    inspector.take_over(other)
    result = inspector.inspect(GREY)
    assert (result.variant, result.bundle_digest, result.anomaly_map.shape) == ("new", "digest of new", (64, 64))
    assert (inspector.engine, inspector.bundle_digest) == (new, "digest of new")
    assert (old.closed, new.closed) == (1, 0)
    with pytest.raises(EngineError, match="closed"):
        other.inspect(GREY)
    other.close()
    assert new.closed == 0
    inspector.close()
    inspector.close()
    assert (old.closed, new.closed) == (1, 1)


def test_the_old_engine_lives_until_its_last_frame() -> None:
    old, new = Watched("old", seconds=0.2), Watched("new")
    inspector, results = _inspector(old), []
    slow = threading.Thread(target=lambda: results.append(inspector.inspect(GREY)))
    slow.start()
    while not old.running:
        time.sleep(0.001)
    start = time.monotonic()
    inspector.take_over(_inspector(new))
    assert inspector.inspect(GREY).variant == "new"
    assert time.monotonic() - start < 0.15, "the new model waited for the old one"
    assert old.closed == 0
    slow.join()
    assert [result.variant for result in results] == ["old"]
    assert (old.closed, old.faults) == (1, 0)
    inspector.close()


def test_many_take_overs_under_load_lose_no_frame() -> None:
    engines = [Watched("0", seconds=0.001)]
    inspector, stop, counts = _inspector(engines[0]), threading.Event(), []

    def judge() -> None:
        count = 0
        while not stop.is_set():
            result = inspector.inspect(GREY)
            assert result.bundle_digest == f"digest of {result.variant}"
            assert result.verdict is Verdict.OK
            count += 1
        counts.append(count)

    judges = [threading.Thread(target=judge) for _ in range(3)]
    for thread in judges:
        thread.start()
    for number in range(1, 60):
        engines.append(Watched(str(number), 32 if number % 2 else 64, seconds=0.001))
        inspector.take_over(_inspector(engines[-1]))
        time.sleep(0.003)
    stop.set()
    for thread in judges:
        thread.join()
    assert len(counts) == 3, "a judge met an exception"
    assert min(counts) > 10
    inspector.close()
    assert [engine.closed for engine in engines] == [1] * len(engines)
    assert sum(engine.faults for engine in engines) == 0, "an engine was closed while it ran, or ran after that"


def test_a_recipe_for_another_bundle_keeps_the_model(tmp_path: Path) -> None:
    digest = "ab" * 32
    (tmp_path / "lid.toml").write_text(f'version = 1\nname = "lid"\n[bundle]\ndigest = "{digest}"\n')
    old, new = Watched("old"), Watched("new")
    inspector = Inspector(old, RULES, bundle_digest=digest, recipes=RecipeBook.open(tmp_path))
    other = _inspector(new)
    with pytest.raises(RecipeError, match="lid"):
        inspector.take_over(other)
    assert inspector.inspect(GREY).variant == "old"
    assert other.inspect(GREY).variant == "new"
    other.close()
    inspector.close()
    assert (old.closed, new.closed) == (1, 1)


def test_closed_ones_take_nothing_over() -> None:
    old, new = Watched("old"), Watched("new")
    inspector, other = _inspector(old), _inspector(new)
    inspector.close()
    with pytest.raises(EngineError, match="closed"):
        inspector.take_over(other)
    assert new.closed == 1
    again = _inspector(Watched("third"))
    with pytest.raises(EngineError, match="closed"):
        again.take_over(other)
    assert again.inspect(GREY).variant == "third"
    again.close()
