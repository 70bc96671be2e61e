"""Watches that outlive a model: scores are held against those of the model that judges."""

import time
from datetime import datetime, timezone

import numpy as np

from diffad_runtime import DecisionRules, FakeEngine, Inspector
from diffad_runtime.attendance import ScoreWatch
from diffad_runtime.bundle import open_bundle
from diffad_runtime.manifest import ImageScore, NormalScores
from diffad_runtime.result import Frame

RULES = DecisionRules(0.5, 0.5, ImageScore(pixels=1))
GREY = np.full((16, 16, 3), 128, np.uint8)  # score 0 on the fake engine


def _inspector(base, digest: str, lowest: float) -> Inspector:  # type: ignore[no-untyped-def]
    values = [lowest + 0.001 * number for number in range(20)]
    normal = NormalScores(count=20, ranks=list(range(1, 21)), values=values)
    manifest = base.manifest.model_copy(update={"normal_scores": normal})
    return Inspector(FakeEngine(16), RULES, bundle_digest=digest, manifest=manifest)


def test_a_new_model_is_not_held_against_the_old_ones_scores(tiny_bundle) -> None:  # type: ignore[no-untyped-def]
    base = open_bundle(tiny_bundle)
    inspector = _inspector(base, "old", lowest=0.3)  # good parts scored 0.3: zeros are a drift
    watch = ScoreWatch(inspector)
    rng = np.random.default_rng(7)

    def judge(count: int) -> None:
        for number in range(count):
            level = np.uint8(128 + rng.integers(0, 3))
            frame = Frame(np.full_like(GREY, level), number, time.monotonic(), datetime.now(timezone.utc))
            watch.write(frame, inspector.judge(frame))

    judge(400)
    assert watch.faults()
    assert watch.gauges()
    late = inspector.inspect(GREY)
    inspector.take_over(_inspector(base, "new", lowest=0.0))
    judge(1)
    assert watch.faults() == ()
    frame = Frame(GREY, 0, time.monotonic(), datetime.now(timezone.utc))
    watch.write(frame, late)  # a result of the old model that waited in the queue
    judge(400)
    assert watch.faults() == ()
    inspector.close()
