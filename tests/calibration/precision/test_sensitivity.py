"""What rounding one layer does: against closed forms, with a layer planted to be bad and one that cannot be."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from diffad_calibration.precision.sensitivity import decibels, int8_variants, layer_effects, signal_to_noise
from diffad_calibration.precision.variants import FORMS, Calibrator, Graphs

SIZE, GRID = 32, 8
INT8 = ["int8", "int8-trt", "int8-fp16-trt"]
IDENTITY = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)


def extractor(sketch: type, *, middle: Callable[[Any, str], str] = lambda _, a: a) -> bytes:
    """image -> x in [-1, 1] -> f, by convolutions that hand on what they get."""
    s = sketch()
    planes = s.op("Transpose", "planes", s.op("Cast", "levels", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    x = s.op("Sub", "x", s.op("Div", "scaled", planes, s.constant("half", 127.5)), s.constant("one", 1.0))
    a = s.conv("first", x, IDENTITY.shape, weight=IDENTITY, bias=np.zeros(3))
    s.op("AveragePool", "f", middle(s, a), kernel_shape=[4, 4], strides=[4, 4])
    return bytes(s.model({"image": [1, SIZE, SIZE, 3]}, {"x": [1, 3, SIZE, SIZE], "f": [1, 3, GRID, GRID]},
                         kind=TensorProto.UINT8))  # fmt: skip


def reconstructor(sketch: type, *, outlier: bool = False) -> bytes:
    """x is handed on with a fourth channel; the map is (f / 2 - 1 / 4)^2. `outlier`: the fourth is far too large."""
    s = sketch()
    weight = np.concatenate([IDENTITY, np.zeros((1, 3, 1, 1), np.float32)])
    a = s.conv("spread", "x", weight.shape, weight=weight, bias=np.array([0, 0, 0, 300.0 if outlier else 1]))
    b = s.op("AveragePool", "b", a, kernel_shape=[4, 4], strides=[4, 4])
    found = s.conv("gather", b, (3, 4, 1, 1), weight=weight.transpose(1, 0, 2, 3) / 2, bias=np.full(3, 0.25))
    difference = s.op("Sub", "difference", "f", found)
    square = s.op("Mul", "square", difference, difference)
    score = s.op("ReduceMean", "score", square, s.constant("axis", [1], np.int64), keepdims=1)
    large = s.op("Resize", "large", score, "", s.constant("scales", [1, 1, 4, 4]), mode="linear")
    s.op("Squeeze", "anomaly_map", large, "axis")
    s.op("Squeeze", "feature_score", score, "axis")
    return bytes(s.model({"x": [1, 3, SIZE, SIZE], "f": [1, 3, GRID, GRID]},
                         {"anomaly_map": [1, SIZE, SIZE], "feature_score": [1, GRID, GRID]}))  # fmt: skip


def uniform(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def mean(maps: np.ndarray) -> float:
    return float(maps.mean())


@pytest.mark.parametrize("name", INT8)
def test_all_layers_are_listed_the_worst_first(name: str, calibrator: Calibrator, frames: np.ndarray) -> None:
    steps: list[tuple[int, int]] = []
    effects = layer_effects(calibrator, name, frames[:4], mean, progress=lambda *step: steps.append(step))
    first = {("extractor", node) for node in ("node_first", "node_second", "node_f")}
    second = {("reconstructor", f"node_{node}") for node in ("stem", "down", "mix", "merge", "mean")}
    assert {(one.graph, one.node) for one in effects} == first | second
    assert len(effects) == 8
    assert all(one.weight == f"{one.node.removeprefix('node_')}.w" for one in effects)
    noise = [one.map_noise for one in effects]
    assert noise == sorted(noise, reverse=True)
    assert all(20 < one.sqnr_db < 60 for one in effects), effects
    assert all(0 < one.map_noise < 0.1 for one in effects)
    assert steps == [(done, 8) for done in range(1, 9)]
    assert effects[0].to_dict().keys() == {"graph", "node", "weight", "sqnr_db", "map_noise", "aupro_drop"}


@pytest.mark.parametrize("name", INT8)
def test_figures_are_those_of_the_graph_with_that_layer_rounded(
    name: str, calibrator: Calibrator, frames: np.ndarray, pair: Graphs
) -> None:
    def maps(graphs: Graphs) -> np.ndarray:
        with graphs.engine(name, SIZE, threads=1) as engine:
            return np.stack([engine.infer(frame).anomaly.copy() for frame in frames[:4]])

    def aupro(found: np.ndarray) -> float:
        return float(np.abs(found).max())

    before = maps(pair)
    effects = {one.node: one for one in layer_effects(calibrator, name, frames[:4], aupro)}
    for graph, node, others in (
        ("extractor", "node_second", ("node_first", "node_f")),
        ("reconstructor", "node_mix", ("node_stem", "node_down", "node_merge", "node_mean")),
    ):
        kept = {graph: others}
        made = calibrator.make(name, keep_float=kept, correct_bias=False).graphs
        other = "reconstructor" if graph == "extractor" else "extractor"
        after = maps(Graphs(**{graph: made[graph], other: pair[other]}))
        noise = np.sqrt(np.square(after - before).mean()) / before.std()
        assert effects[node].map_noise == pytest.approx(noise, rel=1e-3)
        assert effects[node].aupro_drop == pytest.approx(aupro(before) - aupro(after), rel=1e-2, abs=1e-6)


@pytest.mark.parametrize(("name", "levels"), [("int8-trt", 254), ("int8-fp16-trt", 254), ("int8", 255)])
def test_noise_of_a_uniform_signal_is_a_twelfth_of_a_step_squared(name: str, levels: int, sketch: type) -> None:
    # x is uniform in [-1, 1], but has as many levels as there are steps: a gain of its own for each place parts them.
    gain = np.random.default_rng(1).uniform(0.5, 1, (1, 3, SIZE, SIZE)).astype(np.float32)

    def middle(s: Any, a: str) -> str:
        times = s.op("Mul", "times", a, s.constant("gain", gain))
        return str(s.conv("measured", times, IDENTITY.shape, weight=IDENTITY, bias=np.zeros(3)))

    fp32 = Graphs(extractor(sketch, middle=middle), reconstructor(sketch))
    images = uniform()
    effects = layer_effects(Calibrator.watch(fp32, images), name, images, mean)
    found = next(one for one in effects if one.node == "node_measured")
    step, power = 2 / levels, np.square(gain).mean() / 3
    # On a CPU what it makes is rounded as well, and lies on a step already.
    assert found.sqnr_db == pytest.approx(10 * np.log10(power / (step**2 / 12)), abs=1)


@pytest.mark.parametrize("name", INT8)
def test_a_layer_planted_to_be_bad_comes_first(name: str, sketch: type, frames: np.ndarray) -> None:
    good, bad = (Graphs(extractor(sketch), reconstructor(sketch, outlier=outlier)) for outlier in (False, True))
    fine, spoiled = (layer_effects(Calibrator.watch(one, frames), name, frames, mean) for one in (good, bad))
    # "gather" reads a channel of 300 beside three within [-1, 1]: its steps are more than one unit wide.
    assert (spoiled[0].graph, spoiled[0].node) == ("reconstructor", "node_gather")
    assert spoiled[0].map_noise > 20 * max(one.map_noise for one in fine)
    assert spoiled[0].sqnr_db < 12 < min(one.sqnr_db for one in fine)
    assert spoiled[0].aupro_drop < 0  # the mean of the map: noise adds to it
    rest = {one.node: one for one in spoiled[1:] if one.node != "node_spread"}
    for one in fine:
        if one.node in rest:
            assert rest[one.node].map_noise == pytest.approx(one.map_noise, rel=0.01)


def test_harmless_rounding_costs_nothing(sketch: type) -> None:
    # Tiles of black and white: all activations are 1 or -1, and all weights are their channel's largest.
    cells = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (4, GRID, GRID, 3))
    images = cells.repeat(SIZE // GRID, 1).repeat(SIZE // GRID, 2)
    fp32 = Graphs(extractor(sketch), reconstructor(sketch))

    def above(maps: np.ndarray) -> float:
        return float((maps > 0.3).mean())

    effects = layer_effects(Calibrator.watch(fp32, images), "int8-trt", images, above)
    assert len(effects) == 3
    assert all(one.sqnr_db > 120 and one.map_noise < 1e-6 for one in effects), effects  # scales are float32
    assert sum(abs(one.aupro_drop) for one in effects) == 0


def test_signal_noise_and_decibels() -> None:
    exact, rounded = np.array([3, -4, 0], np.float32), np.array([3.5, -4, 0.5], np.float32)
    assert signal_to_noise(exact, rounded) == (25, 0.5)
    assert decibels(25, 0.25) == pytest.approx(20)
    assert decibels(1, 0) == 200
    assert decibels(0, 1) == pytest.approx(-300)
    large = np.full(4, 1e30, np.float32)
    assert signal_to_noise(large, -large) == pytest.approx((4e60, 16e60))  # not in float32
    assert int8_variants(list(FORMS)) == INT8
