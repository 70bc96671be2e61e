"""Wide for a frame that is alone, narrow where frames meet; and the same maps either way."""

import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffad_runtime.bundle import open_bundle
from diffad_runtime.engines.lanes import Lanes
from diffad_runtime.engines.select import open_engine


def test_alone_is_wide() -> None:
    lanes = Lanes("wide", "narrow")
    for _ in range(5):
        with lanes.take() as way:
            assert way == "wide"


def test_a_meeting_makes_it_narrow_until_three_were_alone() -> None:
    lanes = Lanes("wide", "narrow")
    with lanes.take() as first, lanes.take() as second:
        assert (first, second) == ("wide", "narrow")
    ways = []
    for _ in range(5):
        with lanes.take() as way:
            ways.append(way)
    assert ways == ["narrow", "narrow", "wide", "wide", "wide"]


def test_one_way_only() -> None:
    lanes = Lanes("wide", None)
    with lanes.take() as first, lanes.take() as second:
        assert first == second == "wide"


@given(st.lists(st.booleans(), max_size=60))
def test_never_two_at_once_on_all_threads_but_where_the_second_one_comes(comings: list[bool]) -> None:
    """True: a frame comes; False: the oldest goes. Wide is given only to a frame that finds nobody."""
    lanes = Lanes("wide", "narrow")
    inside: list[ExitStack] = []
    for comes in comings:
        if comes:
            stack = ExitStack()
            way = stack.enter_context(lanes.take())
            assert way == "narrow" or not inside
            inside.append(stack)
        elif inside:
            inside.pop(0).close()


@pytest.mark.parametrize("variant", ["fp32", "fp16", "int8", "int8-trt", "int8-fp16-trt"])
def test_frames_that_meet_get_the_maps_of_frames_alone(golden_bundle: Path, variant: str) -> None:
    rng = np.random.default_rng(0)
    bundle = open_bundle(golden_bundle)
    with (
        open_engine(bundle, "onnxruntime", variant, 1, foreign=True) as one,
        open_engine(bundle, "onnxruntime", variant, 2, foreign=True) as two,
    ):
        assert (one.lanes, two.lanes) == (1, 2)
        images = [rng.integers(0, 256, (two.input_size, two.input_size, 3), dtype=np.uint8) for _ in range(8)]
        expected = [one.infer(image).anomaly for image in images]
        got: dict[int, list[np.ndarray]] = {}  # type: ignore[type-arg]

        def work(which: int) -> None:
            got[which] = [two.infer(image).anomaly for image in images for _ in range(3)]

        threads = [threading.Thread(target=work, args=(which,)) for which in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for maps in got.values():
            for number, anomaly in enumerate(maps):
                np.testing.assert_array_equal(anomaly, expected[number // 3])
        np.testing.assert_array_equal(two.infer(images[0]).anomaly, expected[0])
