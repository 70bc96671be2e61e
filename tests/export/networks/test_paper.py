"""The paper's network: its size to the parameter, its shapes, labels, checkpointing, and a training step of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from diffad_export.denoiser import Denoised, to_blocks
from diffad_export.diffusion.schedule import add_noise, linear_schedule
from diffad_export.networks.paper import PaperTeacher
from diffad_export.networks.paperblocks import ResidualBlock, SelfAttention, resampled
from diffad_export.training.objectives import gaussian_nll, pixel_error, variational_bound
from diffad_runtime.errors import InputError


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tiny(widths: tuple[int, ...] = (8, 8, 16), **sizes: Any) -> PaperTeacher:
    """A small network whose weights are nowhere zero, so that nothing is hidden behind the zeroed convolutions."""
    defaults: dict[str, Any] = {"classes": 3, "blocks": 1, "attention": (2,), "head_width": 4, "groups": 4}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = PaperTeacher(5, widths, **(defaults | sizes))
        for parameter in teacher.parameters():
            nn.init.normal_(parameter, std=0.2)
    return teacher


def counted(widths: tuple[int, ...], blocks: int, attention: tuple[int, ...]) -> int:
    """Parameters of the trunk without classes, summed by hand from the layers' formulas."""
    e = 4 * widths[0]

    def residual(a: int, b: int) -> int:
        skip = 0 if a == b else a * b + b
        return 2 * a + (9 * a * b + b) + (2 * e * b + 2 * b) + 2 * b + (9 * b * b + b) + skip

    def attended(c: int) -> int:
        return 2 * c + (3 * c * c + 3 * c) + (c * c + c)

    total = (widths[0] * e + e) + (e * e + e)
    now = widths[0]
    total += 27 * now + now
    skips, top = [now], len(widths) - 1
    for level, wide in enumerate(widths):
        for _ in range(blocks):
            total += residual(now, wide) + (attended(wide) if 2**level in attention else 0)
            now = wide
            skips.append(now)
        if level < top:
            total += residual(now, now)
            skips.append(now)
    total += 2 * residual(now, now) + attended(now)
    for level, wide in reversed(list(enumerate(widths))):
        for _ in range(blocks + 1):
            total += residual(now + skips.pop(), wide) + (attended(wide) if 2**level in attention else 0)
            now = wide
        total += residual(now, now) if level else 0
    return total + 2 * now + (9 * now * 6 + 6)


def test_the_paper_s_size_to_the_parameter() -> None:
    with torch.device("meta"):
        teacher = PaperTeacher(272, classes=15)
    sizes = {name: parameter.numel() for name, parameter in teacher.named_parameters()}
    heads = sum(n for name, n in sizes.items() if name.startswith(("feature_", "variance_")))
    assert counted((256, 256, 512, 512, 1024, 1024), 2, (8, 16, 32)) == 552_814_086
    assert sum(sizes.values()) - heads - sizes["label_emb.weight"] == 552_814_086
    assert heads == 2 * 512 + 2 * (512 * 272 + 272)
    assert sizes["label_emb.weight"] == 15 * 1024


def test_attention_stands_on_the_grids_32_16_and_8_of_256() -> None:
    with torch.device("meta"):
        teacher = PaperTeacher(272)
    teacher.to("meta")  # tables that are no parameters may have been made elsewhere
    sides = list[int]()
    for module in teacher.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_pre_hook(lambda _, args: sides.append(args[0].shape[-1]))
            assert module.heads == module.qkv.in_channels // 64
    with torch.no_grad():
        out = teacher(torch.empty(1, 3, 256, 256, device="meta"), torch.empty(1, dtype=torch.int64, device="meta"))
    # Two blocks a level going down, the middle, three a level going up.
    assert sides == [32] * 2 + [16] * 2 + [8] * 2 + [8] + [8] * 3 + [16] * 3 + [32] * 3
    assert out.x0.shape == out.v.shape == (1, 48, 64, 64)
    assert [f.shape for f in (*out.f, *out.f_log_var)] == [(1, 272, 64, 64)] * 2


@pytest.mark.parametrize("grid_stride", [4, 8, 16])
@torch.no_grad()
def test_shapes(grid_stride: int) -> None:
    teacher = tiny((8, 8, 16, 16, 16, 16), attention=(8, 16, 32), grid_stride=grid_stride)
    for side in (32, 96):
        out = teacher(draw(2, 3, side, side), torch.tensor([0, 449]), torch.tensor([2, -1]))
        assert out.x0.shape == out.v.shape == (2, 48, side // 4, side // 4)
        assert [f.shape for f in (*out.f, *out.f_log_var)] == [(2, 5, side // grid_stride, side // grid_stride)] * 2
        assert {tensor.dtype for tensor in (out.x0, out.v, *out.f, *out.f_log_var)} == {torch.float32}


@torch.no_grad()
def test_features_are_read_from_the_decoder_at_a_quarter_before_it_is_doubled() -> None:
    teacher = tiny((8, 8, 16, 16))
    seen = dict[str, Tensor]()
    for name, module in teacher.named_modules():
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    out = teacher(draw(1, 3, 32, 32), torch.tensor([9]))
    # Levels 3 and 2 have two decoder blocks each: number 3 is the last on the grid of S / 4, its layer 1 doubles it.
    tap = seen["output_blocks.3.0"]
    assert tap.shape == (1, 16, 8, 8)
    assert seen["output_blocks.3.1"].shape == (1, 16, 16, 16)
    expected = teacher.feature_head(nn.functional.silu(teacher.feature_norm(tap)))
    torch.testing.assert_close(out.f[0], expected, rtol=0, atol=0)


@pytest.mark.parametrize("t", [0, 201, 449])
@torch.no_grad()
def test_the_clean_image_comes_back_from_the_true_noise(t: int) -> None:
    teacher = tiny()
    x0, noise, v = draw(2, 3, 32, 32).tanh(), draw(2, 3, 32, 32, seed=1), draw(2, 3, 32, 32, seed=2)
    x_t = add_noise(x0, noise, linear_schedule().abar[[t, t]])
    teacher.out.register_forward_hook(lambda *_: torch.cat([noise, v], 1))
    out = teacher(x_t, torch.tensor([t, t]))
    torch.testing.assert_close(out.x0, to_blocks(x0), rtol=0, atol=2e-5)
    assert torch.equal(out.v, to_blocks(v))


@torch.no_grad()
def test_a_new_network_predicts_no_noise_and_unit_variances() -> None:
    x_t = draw(1, 3, 32, 32)
    teacher = PaperTeacher(5, (8, 8, 16), 1, classes=3, attention=(2,), head_width=4, groups=4)
    out = teacher(x_t, torch.tensor([100]), torch.tensor([1]))
    signal = linear_schedule().abar[100].sqrt().item()
    torch.testing.assert_close(out.x0, to_blocks(x_t) / signal)
    assert not out.v.any()
    assert not out.f_log_var[0].any()
    blocks = [module for module in teacher.modules() if isinstance(module, ResidualBlock)]
    assert not any(block.out_layers[3].weight.any() for block in blocks)  # type: ignore[operator]
    h = draw(1, 16, 4, 4)
    attention = next(module for module in teacher.modules() if isinstance(module, SelfAttention))
    assert torch.equal(attention(h[:, :8]), h[:, :8])


def test_resampling_is_means_of_four_and_repetition() -> None:
    h = torch.arange(8.0).view(1, 1, 2, 4)
    assert resampled(h, "down").tolist() == [[[[2.5, 4.5]]]]
    assert resampled(h[..., :2], "up").tolist() == [[[[0, 0, 1, 1], [0, 0, 1, 1], [4, 4, 5, 5], [4, 4, 5, 5]]]]
    assert resampled(h, "none") is h


@torch.no_grad()
def test_labels_change_the_answer_and_no_label_is_minus_one() -> None:
    teacher, x, t = tiny(), draw(1, 3, 32, 32).expand(4, -1, -1, -1), torch.tensor([50] * 4)
    told = teacher(x, t, torch.tensor([0, 1, 2, -1])).f[0]
    gaps = (told[:, None] - told[None]).abs().amax((2, 3, 4)) + torch.eye(4)
    assert gaps.min() > 1e-2
    plain = teacher(x, t).f[0]
    torch.testing.assert_close(plain[3], told[3], rtol=1e-5, atol=1e-5)
    without = tiny(classes=0)
    without.load_state_dict({k: v for k, v in teacher.state_dict().items() if k != "label_emb.weight"})
    torch.testing.assert_close(without(x, t, torch.tensor([0, 1, 2, -1])).f[0], plain)


def losses(denoised: Denoised, x0: Tensor, f: Tensor, t: Tensor) -> dict[str, Tensor]:
    schedule, blocks, error = linear_schedule(), to_blocks(x0), f - denoised.f[0]
    return {
        "pixels": pixel_error("eps", blocks, denoised, schedule.abar[t]).mean(),
        "bound": variational_bound(schedule, blocks, denoised, t).mean(),
        "features": error.square().mean(),
        "likelihood": gaussian_nll(error, denoised.f_log_var[0]),
    }


def gradients(teacher: PaperTeacher, label: Tensor | None) -> dict[str, Tensor]:
    x0, f, t = draw(2, 3, 32, 32).tanh(), draw(2, 5, 8, 8, seed=1), torch.tensor([20, 400])
    x_t = add_noise(x0, draw(2, 3, 32, 32, seed=2), linear_schedule().abar[t])
    parts = losses(teacher(x_t, t, label), x0, f, t)
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    out = {name: p.grad for name, p in teacher.named_parameters() if p.grad is not None}
    teacher.zero_grad()
    return out


def test_checkpointing_gives_the_same_gradients_and_recomputes_every_block() -> None:
    teacher, label = tiny(), torch.tensor([0, 2])
    runs = dict[str, int]()
    for name, module in teacher.named_modules():
        if isinstance(module, ResidualBlock | SelfAttention):
            module.register_forward_pre_hook(lambda *_, name=name: runs.update({name: runs.get(name, 0) + 1}))
    plain = gradients(teacher, label)
    assert set(runs.values()) == {1}
    teacher.checkpointing = True
    again = gradients(teacher, label)
    assert set(runs.values()) == {1 + 2}
    assert plain.keys() == again.keys() == dict(teacher.named_parameters()).keys()
    torch.testing.assert_close(again, plain)
    with torch.no_grad():
        teacher(draw(1, 3, 32, 32), torch.tensor([3]))
    assert set(runs.values()) == {1 + 2 + 1}


def test_a_step_without_labels_still_gives_the_table_a_gradient() -> None:
    table = gradients(tiny(), None)["label_emb.weight"]
    assert not table.any()


def test_a_training_step_of_all_six_levels() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = PaperTeacher(12, (16, 16, 32, 32, 64, 64), 1, classes=2, head_width=16, groups=8, checkpointing=True)
    x0, f, t, label = draw(2, 3, 64, 64).tanh(), draw(2, 12, 16, 16, seed=1), torch.tensor([20, 401]), torch.arange(2)
    x_t = add_noise(x0, draw(2, 3, 64, 64, seed=2), linear_schedule().abar[t])
    optimiser = torch.optim.AdamW(teacher.parameters(), lr=1e-3)
    totals = list[float]()
    for _ in range(3):
        optimiser.zero_grad(set_to_none=True)
        parts = losses(teacher(x_t, t, label), x0, f, t)
        assert all(part.isfinite() for part in parts.values()), parts
        total = torch.stack(list(parts.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        totals.append(total.item())
        for name, parameter in teacher.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        optimiser.step()
    # Behind the zeroed convolutions weights begin to learn at the second step.
    idle = [name for name, p in teacher.named_parameters() if p.ndim > 1 and not p.grad.any()]  # type: ignore[union-attr]
    assert idle == []
    assert totals[2] < totals[1] < totals[0]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"widths": (8, 16)}, "three levels or more, since features are read at S / 4; got 2"),
        ({"widths": (10, 12, 16)}, "10 channels are no multiple of the 4 groups"),
        ({"head_width": 16}, "8 channels are no multiple of the 16 channels of a head"),
    ],
)
def test_sizes_that_do_not_fit_together(sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny(**sizes)
