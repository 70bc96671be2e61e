"""Who this process is, from torchrun's environment; shares of a batch. Joined ones: tests/system/test_torchrun.py."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from diffad_export.distributed import TORCHRUN_SETS, Share, World, is_main, join_world
from diffad_runtime.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN_SETS:
        monkeypatch.delenv(name, raising=False)


@given(st.integers(1, 9), st.integers(1, 5))
def test_shares_are_equal_and_make_up_the_batch(size: int, each: int) -> None:
    batch = torch.arange(size * each)
    parts = [Share(rank, size).of(batch) for rank in range(size)]
    assert {len(part) for part in parts} == {each}
    assert torch.equal(torch.cat(parts), batch)
    assert np.array_equal(Share(0, size).of(batch.numpy()), parts[0].numpy())


def test_one_process_alone() -> None:
    world, network = join_world(CPU), nn.Linear(1, 1)
    assert world == World(CPU)
    assert (world.is_main, world.share) == (True, Share())
    assert world.wrap(network) is network
    assert world.total(torch.tensor([2.0])).item() == 2
    assert (world.any(True), world.any(False)) == (True, False)
    world.meet()
    assert is_main()


def test_what_the_main_process_alone_does() -> None:
    done = list[str]()
    World(CPU).on_main(lambda: done.append("main"))
    World(CPU, rank=1, size=2).on_main(lambda: done.append("other"))
    assert done == ["main"]

    def fail() -> None:
        raise InputError("a folder is taken", mend="Take another")

    with pytest.raises(InputError, match="a folder is taken"):
        World(CPU).on_main(fail)


def test_torchrun_with_one_process_needs_no_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(TORCHRUN_SETS, ("0", "1", "0", "localhost", "29500"), strict=True):
        monkeypatch.setenv(name, value)
    assert join_world(CPU).accelerator is None


def test_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(InputError, match=r"asks for 4 processes, but LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set"):
        join_world(CPU)


def test_only_rank_0_of_several_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert is_main()  # no word of several
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_main()
    monkeypatch.setenv("RANK", "0")
    assert is_main()
    monkeypatch.setenv("RANK", "zero")
    with pytest.raises(InputError, match="RANK in the environment is 'zero', not a number"):
        is_main()
