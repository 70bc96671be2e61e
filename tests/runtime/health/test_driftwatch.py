"""When scores are said to drift, and when not: on scores whose distribution is known."""

import logging
import math
from collections.abc import Callable

import numpy as np
import pytest

from diffad_runtime.errors import InputError
from diffad_runtime.health.driftwatch import DriftWatch, cut_at
from diffad_runtime.manifest import NormalScores
from diffad_runtime.result import Verdict

SPREAD = 2.0  # standard deviation of gamma(4)


def kept(scores: np.ndarray) -> NormalScores:
    """As the exporter keeps them: 101 order statistics at most."""
    ordered = np.sort(scores)
    ranks = np.linspace(1, ordered.size, min(ordered.size, 101)).round().astype(int)
    return NormalScores(count=ordered.size, ranks=ranks.tolist(), values=ordered[ranks - 1].tolist())


def line(seed: int, **more: int) -> tuple[DriftWatch, float, np.random.Generator]:
    """A watch on 300 normal scores of gamma(4), the threshold at their 95 % quantile."""
    rng = np.random.default_rng(seed)
    scores = rng.gamma(4, 1, 300)
    threshold = float(np.sort(scores)[285])
    return DriftWatch(kept(scores), threshold, **more), threshold, rng


def feed(watch: DriftWatch, threshold: float, scores: np.ndarray) -> int | None:
    """Parts until something is said; None: nothing was."""
    for number, score in enumerate(scores, start=1):
        watch.add(float(score), Verdict.NG if score > threshold else Verdict.OK)
        if watch.faults():
            return number
    return None


def parts(rng: np.random.Generator, number: int, bad: float = 0.0) -> np.ndarray:
    scores = rng.gamma(4, 1, number)
    return np.where(rng.random(number) < bad, scores + 10, scores)


@pytest.mark.parametrize("bad", [0.0, 0.3])
def test_nothing_is_said_of_a_line_that_does_not_change(bad: float) -> None:
    """Whatever the share of defective parts: they are left out."""
    for seed in range(5):
        watch, threshold, rng = line(seed)
        assert feed(watch, threshold, parts(rng, 3000, bad)) is None


@pytest.mark.parametrize("bad", [0.0, 0.3])
@pytest.mark.parametrize("change", [lambda x: x + SPREAD, lambda x: x - SPREAD / 2, lambda x: 4 + (x - 4) / 2])
def test_a_change_is_said(bad: float, change) -> None:  # type: ignore[no-untyped-def]
    watch, threshold, rng = line(1)
    assert feed(watch, threshold, parts(rng, 500, bad)) is None
    after = feed(watch, threshold, change(parts(rng, 1500, bad)))
    assert after is not None
    assert after <= 600


def test_said_once_and_once_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
    events: Callable[[pytest.LogCaptureFixture], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("diffad_runtime"), "propagate", True)
    watch, threshold, rng = line(2)
    feed(watch, threshold, parts(rng, 500))
    assert watch.gauges()["drift_active"] == 0
    for score in parts(rng, 2000) * 0.5:
        watch.add(float(score), Verdict.OK)
    (said,) = watch.faults()
    assert said.startswith("SETUP: scores drift: the last 200 parts called good lie -0.")
    assert watch.gauges()["drift_active"] == 1
    assert watch.gauges()["drift_p_value"] < 1e-6
    assert watch.gauges()["drift_shift_deviations"] < -0.5
    # It is over; but as long as scores of before are a good part of the window, nothing is taken back.
    taken_back = 0
    for score in parts(rng, 3000):
        watch.add(float(score), Verdict.OK if score <= threshold else Verdict.NG)
        taken_back += 1
        if not watch.faults():
            break
    assert 100 <= taken_back <= 300
    assert events(caplog) == ["drift", "drift_over"]


def test_many_ng_are_said(
    caplog: pytest.LogCaptureFixture,
    events: Callable[[pytest.LogCaptureFixture], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A change that makes every good part NG leaves the window as it was."""
    monkeypatch.setattr(logging.getLogger("diffad_runtime"), "propagate", True)
    watch, threshold, rng = line(3)
    feed(watch, threshold, parts(rng, 500))
    after = feed(watch, threshold, parts(rng, 500) + 50)
    assert after is not None
    assert 85 <= after <= 101
    assert watch.faults()[0].startswith("SETUP: many NG: 101 of the last 200 parts")
    feed(watch, threshold, np.full(100, 60.0))
    feed(watch, threshold, parts(rng, 10))
    for score in parts(rng, 190):
        watch.add(float(score), Verdict.OK)
    assert watch.faults() == ()
    assert events(caplog) == ["drift", "drift_over"]


def test_errors_and_scores_that_are_none_pass_by() -> None:
    watch, threshold, rng = line(4)
    for score in parts(rng, 300):
        watch.add(math.nan, Verdict.ERROR)
        watch.add(5000.0, Verdict.ERROR)
        watch.add(math.inf, Verdict.NG)
        watch.add(min(float(score), threshold), Verdict.OK)
    assert watch.faults() == ()


def test_errors_are_no_share_of_the_parts_judged() -> None:
    """All that was judged is NG, with as many ERROR between."""
    watch, _, _ = line(4)
    for _ in range(200):
        watch.add(1.0, Verdict.ERROR)
        watch.add(50.0, Verdict.NG)
    assert watch.faults() == ("SETUP: many NG: 200 of the last 200 parts",)


def test_a_change_at_the_limit_does_not_flicker(
    caplog: pytest.LogCaptureFixture,
    events: Callable[[pytest.LogCaptureFixture], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The chance goes to and fro across 1e-6, and seldom beyond 1e-3."""
    monkeypatch.setattr(logging.getLogger("diffad_runtime"), "propagate", True)
    watch, threshold, rng = line(5, every=5)
    chances = []
    for score in parts(rng, 8000) + 0.42 * SPREAD:
        watch.add(float(score), Verdict.OK if score <= threshold else Verdict.NG)
        chances.append(watch.gauges().get("drift_p_value", 1.0))
    below = np.array(chances) < 1e-6
    crossings = int(np.count_nonzero(below[1:] & ~below[:-1]))
    assert crossings >= 15
    said = events(caplog).count("drift")
    assert 1 <= said <= crossings // 4


def test_few_normal_scores_say_nothing() -> None:
    watch = DriftWatch(kept(np.arange(19.0)), 100.0)
    for _ in range(1000):
        watch.add(90.0, Verdict.OK)
    assert watch.faults() == ()
    assert watch.gauges() == {}


def test_both_sides_are_cut_at_the_same_score() -> None:
    """Every kept score above the threshold goes, and the last one that stays is the cut."""
    normal = kept(np.arange(1.0, 301.0))
    cut, largest = cut_at(normal, 250.0)
    assert cut is not None
    assert largest == cut.values[-1] <= 250.0 < normal.values[normal.values.index(largest) + 1]
    assert cut.count == largest  # ranks and values are the same here
    assert cut_at(normal, 1e9) == (normal, 1e9)
    assert cut_at(normal, 0.5)[0] is None
    assert cut_at(normal, 15.0)[0] is None


@pytest.mark.parametrize("wrong", [{"window": 4}, {"limit": 0.0}, {"limit": 1.0}, {"every": 0}, {"ng_share": 0.0}])
def test_settings_that_mean_nothing(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected a window of 5 or more"):
        DriftWatch(kept(np.arange(30.0)), 100.0, **wrong)  # type: ignore[arg-type]
