"""Images that kill workers: who is looked at again, and when that ends."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from diffad_runtime.scale.attempts import MOST, Attempt


class DiedError(Exception):
    """The worker's process ended."""


def go_through(path: Path, images: list[int], killers: set[int]) -> dict[int, bool]:
    """One worker's run through a batch: image -> looked at. Raises where it dies, and leaves what a dead one leaves."""
    attempt = Attempt(path)
    looked = {}
    for image in images:
        looked[image] = not attempt.killed_by(image)
        if looked[image] and image in killers:
            raise DiedError
    attempt.end()
    return looked


def test_a_batch_without_harm_leaves_nothing(tmp_path: Path) -> None:
    assert go_through(tmp_path / "0", [4, 5], set()) == {4: True, 5: True}
    assert list(tmp_path.iterdir()) == []


def test_one_death_is_nobodys_fault(tmp_path: Path) -> None:
    """A machine that is switched off takes an innocent image with it, which must be judged the next time."""
    first = Attempt(tmp_path / "0")
    assert not first.killed_by(4)
    again = Attempt(tmp_path / "0")
    assert again.before == 1
    assert not again.killed_by(4)
    third = Attempt(tmp_path / "0")
    assert not third.killed_by(4)
    assert not third.killed_by(5)


@settings(max_examples=60)
@given(st.sets(st.integers(0, 9)))
def test_all_but_the_killers_are_looked_at_and_it_ends(killers: set[int]) -> None:
    images, runs = list(range(10)), 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(100):
            runs += 1
            try:
                looked = go_through(Path(folder) / "0", images, killers)
                break
            except DiedError:
                continue
    assert {image for image in images if not looked[image]} == killers
    # The first run notes nothing.
    assert runs == (1 + MOST * len(killers) + 1 if killers else 1)
