"""One pass over frames: what it says of every tensor is what the tensors say themselves."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from diffad_calibration.precision.ranges import Collector, Histogram, collect, estimate
from diffad_calibration.precision.variants import Graphs
from diffad_runtime.errors import DataError, DiffadError

SIDE = 8
# Tensors that a convolution, or an op that can run between two, reads or makes; the score is none of them.
NEAR = {"x", "f", "stem", "a", "down", "b", "both", "mix", "c", "up", "cat", "merge", "d", "mean", "score", "large"}


def feeds(count: int = 3) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {
            "x": rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32),
            "f": rng.normal(0.3, 1, (1, 6, 8, 8)).astype(np.float32),
        }


@pytest.fixture(scope="module")
def seen(pair: Graphs, run: Callable[..., Any]) -> dict[str, np.ndarray]:
    """Every float tensor of the reconstructor on all feeds, by running it with all of them as outputs."""
    proto = onnx.load_from_string(pair.reconstructor)
    names = [name for node in proto.graph.node for name in node.output]
    answers = [feed | run(pair.reconstructor, feed, names, optimise=False) for feed in feeds()]
    return {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}


def test_extremes_are_those_of_the_tensors(pair: Graphs, seen: dict[str, np.ndarray]) -> None:
    found = collect(pair.reconstructor, feeds()).extremes()
    assert found == {name: (values.min(), values.max()) for name, values in seen.items()}


@pytest.mark.parametrize("kind", ["minmax", "mse"])
def test_one_pass_feeds_both_ways_of_rounding(kind: str, pair: Graphs, seen: dict[str, np.ndarray]) -> None:
    collector = collect(pair.reconstructor, feeds())  # a generator: it can be read once only
    assert collector.frames == 3
    for symmetric in (True, False):
        ranges = collector.ranges(kind, symmetric=symmetric)
        assert ranges.keys() == NEAR
        for name, found in ranges.items():
            histogram = Histogram()
            histogram.add(seen[name])
            assert found == estimate(kind, histogram, symmetric=symmetric), name
    assert collector.ranges("mse", symmetric=True) != collector.ranges("mse", symmetric=False)


def test_a_frame_is_answered_as_the_graph_does(pair: Graphs, run: Callable[..., Any]) -> None:
    collector, feed = Collector(pair.extractor), {"image": np.full((1, 32, 32, 3), 200, np.uint8)}
    found = collector.add(feed | {"unknown": np.zeros(3)})
    expected = run(pair.extractor, feed)
    assert found.keys() == expected.keys() == {"x", "f"}
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    assert "image" not in collector.extremes()  # grey levels are not float


def test_no_frames_and_unknown_estimators_are_refused(pair: Graphs) -> None:
    with pytest.raises(DataError, match="no frames to calibrate on"):
        collect(pair.reconstructor, [])
    collector = Collector(pair.reconstructor)
    for ask in (collector.extremes, lambda: collector.ranges("minmax", symmetric=True)):
        with pytest.raises(DataError, match="no frames to calibrate on"):
            ask()
    with pytest.raises(DataError, match="unknown range estimator 'median'"):
        collect(pair.reconstructor, feeds(1)).ranges("median", symmetric=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"x": np.zeros((1, 3, 32, 31), np.float32)},
        {"x": np.zeros((1, 3, 32, 32), np.float64)},
        {"x": "a word"},
        {"x": None},
    ],
)
def test_a_feed_that_does_not_fit_is_one_line(
    wrong: dict[str, Any], pair: Graphs, capfd: pytest.CaptureFixture[str]
) -> None:
    collector = Collector(pair.reconstructor)
    for feed in (next(feeds(1)) | wrong, wrong, {}):
        with pytest.raises(DiffadError, match="onnxruntime refuses the graph or its inputs") as caught:
            collector.add(feed)
        assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")
    assert collector.frames == 0


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_and_named(wrong: float, pair: Graphs) -> None:
    collector, feed = Collector(pair.reconstructor), next(feeds(1))
    feed["x"][0, 1, 2, 3] = wrong
    with pytest.raises(DataError, match="tensor 'x' holds NaN or infinity"):
        collector.add(feed)


def test_so_it_is_far_from_any_convolution(sketch: type) -> None:
    s = sketch()
    s.op("Log", "score", s.op("Exp", "high", s.conv("y", "x", (2, 2, 1, 1), weight=[[[[1]], [[0]]], [[[0]], [[1]]]])))
    s.op("Exp", "end", "score")
    model = s.model({"x": [1, 2, SIDE, SIDE]}, {"end": [1, 2, SIDE, SIDE]})
    collector = Collector(model)
    collector.add({"x": np.full((1, 2, SIDE, SIDE), 1.0, np.float32)})
    with pytest.raises(DataError, match="tensor 'high' holds NaN or infinity"):
        collector.add({"x": np.full((1, 2, SIDE, SIDE), 1000.0, np.float32)})


def test_a_graph_that_onnxruntime_refuses_is_refused_here(pair: Graphs) -> None:
    broken = onnx.load_from_string(pair.reconstructor)
    next(node for node in broken.graph.node if node.name == "node_cat").attribute[0].i = 2
    with pytest.raises(DiffadError, match="onnxruntime refuses the graph"):
        Collector(broken.SerializeToString())
