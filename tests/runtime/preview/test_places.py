"""Viewers' places: how many, whose, and for how long."""

from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.preview.places import GONE_S, Places


def test_one_more_finds_no_place_until_somebody_goes() -> None:
    now = [0.0]
    places = Places(2, clock=lambda: now[0])
    assert places.take("a")
    assert places.take("b")
    assert places.free == 0
    assert not places.take("c")
    assert places.take("a")  # has one
    places.leave("a")
    places.leave("nobody")
    assert places.take("c")
    now[0] = GONE_S / 2
    assert places.take("b")
    now[0] = GONE_S
    assert places.free == 1  # c was not heard of again
    assert places.take("d")
    assert not places.take("c")


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from("abcdefgh"), st.floats(0, 3)), max_size=60))
def test_never_more_than_there_are(most: int, asked: list[tuple[str, float]]) -> None:
    now, heard = [0.0], {}
    places = Places(most, clock=lambda: now[0])
    for viewer, later in asked:
        now[0] += later
        if places.take(viewer):
            heard[viewer] = now[0]
        here = [name for name, seen in heard.items() if seen > now[0] - GONE_S]
        assert len(here) <= most
        assert places.free == most - len(here)
