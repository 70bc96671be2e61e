"""Matching of maps: what correlation does not mind, where its gradient leads, and which maps are compared."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.denoiser import Denoised
from diffad_export.distributed import WHOLE, Share
from diffad_export.grids import GridLayout, Grids
from diffad_export.reconstructor import levels_of
from diffad_export.training.loop import step_generator
from diffad_export.training.mapmatch import MapBank, MapMatching, correlation

LAYOUT = GridLayout((4, 8, 16), (3, 2, 1))
LEVELS = levels_of((5, 50))
SIZE, GRID = 32, 8


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 99))
def test_scale_and_offset_do_not_matter(gain: float, offset: float, seed: int) -> None:
    own, other = draw(2, 8, 8, seed=seed), draw(2, 8, 8, seed=seed + 100)
    assert correlation(gain * own + offset, other).item() == pytest.approx(correlation(own, other).item(), abs=1e-3)
    assert correlation(own, gain * other + offset).item() == pytest.approx(correlation(own, other).item(), abs=1e-3)
    assert correlation(gain * own + offset, own).item() == pytest.approx(1, abs=1e-4)
    assert correlation(-gain * own + offset, own).item() == pytest.approx(-1, abs=1e-4)


def test_without_a_tail_it_is_pearson_s() -> None:
    own, other = draw(4, 16, 16).sign(), draw(4, 16, 16, seed=1).sign()  # two values each: squashing is affine
    expected = torch.corrcoef(torch.stack([own.flatten(), other.flatten()]))[0, 1]
    assert correlation(own, other).item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_loud_pixel_does_not_decide() -> None:
    own = draw(2, 16, 16)
    loud = own.clone()
    loud[0, 3, 4] = 30
    plain = torch.corrcoef(torch.stack([own.flatten(), loud.flatten()]))[0, 1]
    assert plain < 0.7
    assert correlation(loud, own) > 0.85


def test_the_gradient_raises_what_the_teacher_sees() -> None:
    teacher = 0.1 * draw(1, 16, 16)
    teacher[0, 4:7, 4:7] += 5
    own = draw(1, 16, 16, seed=1).requires_grad_()
    before = correlation(own, teacher)
    (1 - before).backward()  # type: ignore[no-untyped-call]
    assert own.grad is not None
    assert own.grad.isfinite().all()
    inside = torch.zeros_like(own, dtype=torch.bool)
    inside[0, 4:7, 4:7] = True
    # Descent lifts the defect, and lowers the rest.
    assert (own.grad[inside] < 0).all()
    assert own.grad[~inside].mean() > 0
    with torch.no_grad():
        assert correlation(own - 20 * own.grad, teacher) > before + 0.05


def test_flat_maps_give_no_nan() -> None:
    own = torch.zeros(1, 4, 4, requires_grad=True)
    value = correlation(own, draw(1, 4, 4))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert own.grad is not None
    assert own.grad.isfinite().all()


class Silent(nn.Module):
    """Expects every feature to be `mean`; keeps what it was asked."""

    def __init__(self, mean: float = 0.0, log_var: float = 0.0) -> None:
        super().__init__()
        self.mean, self.log_var = nn.Parameter(torch.tensor(mean)), log_var
        self.seen, self.levels = list[Tensor](), list[Tensor]()

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        self.seen.append(x_t)
        self.levels.append(t)
        f = tuple(self.mean.expand(len(x_t), *shape) for shape in ((3, 8, 8), (2, 4, 4), (1, 2, 2)))
        return Denoised(x_t, x_t, f, tuple(torch.full_like(part, self.log_var) for part in f))


def by_hand(features: Grids, mean: float = 0.0, log_var: float = 0.0) -> Tensor:
    """The deployed likelihood: mean over all channels of z^2 + log variance, each grid enlarged to S / 4."""
    variance = float(np.exp(log_var))
    each = [((f.float() - mean).square() / variance + np.log(variance)).sum(1, keepdim=True) / 6 for f in features]
    enlarged = [F.interpolate(one, size=GRID, mode="bilinear", align_corners=False)[:, 0] for one in each]
    return torch.stack(enlarged).sum(0)


@pytest.fixture(scope="module")
def bank() -> MapBank:
    """Ten random images whose maps are an affine change of what a student that expects 0 makes of them."""
    features = (draw(10, 3, 8, 8, seed=1).half(), draw(10, 2, 4, 4, seed=2).half(), draw(10, 1, 2, 2, seed=3).half())
    images = np.random.default_rng(0).integers(0, 256, (10, SIZE, SIZE, 3), dtype=np.uint8)
    return MapBank(images, tuple(one.numpy() for one in features), (3 * by_hand(features) - 2).numpy())


def test_equal_maps_cost_nothing(bank: MapBank) -> None:
    matching, network = MapMatching(bank, LAYOUT, LEVELS), Silent()
    assert matching.mismatch(network, step_generator(0, 0), 6, WHOLE).item() == pytest.approx(0, abs=1e-5)
    # Each level is asked once, with noise of its own.
    assert [levels.tolist() for levels in network.levels] == [[0] * 6, [1] * 6]
    assert not torch.equal(network.seen[0], network.seen[1])


def test_other_maps_cost_what_their_correlation_lacks(bank: MapBank) -> None:
    matching, network = MapMatching(bank, LAYOUT, LEVELS), Silent(mean=1.0, log_var=-1.0)
    loss = matching.mismatch(network, step_generator(0, 0), 6, WHOLE)
    rows = torch.randint(0, 10, (6,), generator=step_generator(0, 0))
    features = tuple(torch.from_numpy(one)[rows] for one in bank.features)
    expected = 1 - correlation(by_hand(features, 1.0, -1.0), torch.from_numpy(bank.maps)[rows])
    assert 0.1 < expected < 1.9
    assert loss.item() == pytest.approx(expected.item(), abs=1e-4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert network.mean.grad is not None
    assert network.mean.grad.abs() > 1e-3


def test_each_process_takes_its_share_of_the_images(bank: MapBank) -> None:
    matching, whole, parts = MapMatching(bank, LAYOUT, LEVELS), Silent(), Silent()
    matching.mismatch(whole, step_generator(0, 5), 6, WHOLE)
    for rank in range(2):
        matching.mismatch(parts, step_generator(0, 5), 6, Share(rank, 2))
    for k in range(2):
        assert torch.equal(torch.cat(parts.seen[k::2]), whole.seen[k])
    again = Silent()
    matching.mismatch(again, step_generator(0, 6), 6, WHOLE)
    assert not torch.equal(again.seen[0], whole.seen[0])
