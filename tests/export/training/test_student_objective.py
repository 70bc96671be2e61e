"""Distillation: every term by hand on several grids and levels, what is shown and what is asked for, and the draws."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffad_export.config import DistilConfig, LossConfig, OptimiserConfig
from diffad_export.denoiser import Denoised, to_blocks
from diffad_export.diffusion.posterior import reverse_step_kl
from diffad_export.distributed import Share, World
from diffad_export.feature_cache import FeatureCache
from diffad_export.grids import FromOneGrid, GridLayout, Grids
from diffad_export.networks.student import Student
from diffad_export.reconstructor import levels_of
from diffad_export.training.lessons import Lessons
from diffad_export.training.loop import step_generator
from diffad_export.training.student import MOST_SNR, StudentObjective, fit_student
from diffad_export.training.targets import TeacherTargets
from diffad_export.training.teacher import draw_rows
from diffad_runtime.errors import InputError

CPU = torch.device("cpu")
LAYOUT = GridLayout((4, 8, 16), (3, 2, 1))
LEVELS = levels_of((5, 50))
BATCH = 12
CONFIG = DistilConfig(
    width=8,
    steps=2,
    chain_steps=(5, 50),
    pasted=0,
    variance_floor=0,
    losses=LossConfig(teacher=0.5, truth=2.0),
    optimiser=OptimiserConfig(batch=BATCH, steps=3),
)


def changed(**updates: object) -> DistilConfig:
    """Of CONFIG; losses by their own names."""
    losses = {name: updates.pop(name) for name in list(updates) if name in LossConfig.model_fields}
    return CONFIG.model_copy(update={**updates, "losses": CONFIG.losses.model_copy(update=losses)})


def truth_of(cache: FeatureCache, rows: np.ndarray) -> tuple[Tensor, Grids]:
    """Blocks and features of the clean images."""
    x, f = cache.batch(rows, CPU)
    return to_blocks(x), FromOneGrid(LAYOUT, 32, 4)(f)


def targets(shift: float, cache: FeatureCache) -> TeacherTargets:
    x0, f = truth_of(cache, np.arange(BATCH))
    return TeacherTargets((x0 + shift).half().numpy(), tuple((part + shift).half().numpy() for part in f))


class Oracle(nn.Module):
    """Answers with given tensors; keeps what it was shown."""

    def __init__(self, x0: Tensor, f: Grids, v: float = -1.0) -> None:
        super().__init__()
        self.x0, self.f, self.v = x0, f, v
        self.seen, self.levels = list[Tensor](), list[Tensor]()

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        self.seen.append(x_t)
        self.levels.append(t)
        return Denoised(
            self.x0, torch.full_like(self.x0, self.v), self.f, tuple(torch.zeros_like(part) for part in self.f)
        )


class Scaling(nn.Module):
    """Answers with `gain` times what it sees, whatever the level; keeps what it was shown."""

    def __init__(self, gain: float = 0.7) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.seen, self.levels = list[Tensor](), list[Tensor]()

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:  # noqa: ARG002
        self.seen.append(x_t)
        self.levels.append(t)
        x0, f = answers(x_t)
        means = tuple(self.gain * part for part in f)
        return Denoised(self.gain * x0, torch.zeros_like(x0), means, tuple(torch.zeros_like(part) for part in f))


class Moody(Scaling):
    """Says one more in training."""

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Denoised:
        out, more = super().forward(x_t, t, label), float(self.training)
        return Denoised(out.x0 + more, out.v, tuple(f + more for f in out.f), out.f_log_var)


def answers(x_t: Tensor) -> tuple[Tensor, Grids]:
    parts = zip(LAYOUT.strides, LAYOUT.channels, strict=True)
    return to_blocks(x_t), tuple(F.avg_pool2d(x_t, stride)[:, :channels] for stride, channels in parts)


def objective(cache: FeatureCache, config: DistilConfig = CONFIG, lessons: Lessons | None = None) -> StudentObjective:
    return StudentObjective(cache, LAYOUT, config, LEVELS[: config.steps], lessons or Lessons(), CPU)


def drawn(step: int = 0) -> np.ndarray:
    return draw_rows(BATCH, BATCH, step_generator(0, step))


def test_terms_by_hand(small_cache: FeatureCache) -> None:
    lessons = Lessons((targets(0.25, small_cache), targets(1.0, small_cache)))
    blocks, truth = truth_of(small_cache, drawn())
    # Errors of 1/2, 1 and 2 on grids of 3, 2 and 1 of the six channels.
    oracle = Oracle(blocks + 0.5, tuple(f + shift for f, shift in zip(truth, (0.5, 1.0, 2.0), strict=True)))
    loss, parts = objective(small_cache, lessons=lessons)(oracle, step_generator(0, 0))
    level = oracle.levels[0]
    assert sorted(level.tolist()) == [0] * 6 + [1] * 6
    mse = (3 * 0.25 + 2 * 1 + 1 * 4) / 6
    assert parts["features"].item() == pytest.approx(2 * mse, rel=1e-4)
    assert parts["likelihood"].item() == pytest.approx(0.5 * mse, rel=1e-4)
    snr = LEVELS[1].abar / (1 - LEVELS[1].abar)
    assert LEVELS[0].abar / (1 - LEVELS[0].abar) > MOST_SNR > snr
    assert parts["pixels"].item() == pytest.approx(2 * 0.25 * (MOST_SNR + snr) / 2, rel=1e-4)
    # Half of the rows against one level's targets, half against the other's; those are float16.
    first, second = ((3 * (0.5 - s) ** 2 + 2 * (1 - s) ** 2 + (2 - s) ** 2) / 6 for s in (0.25, 1.0))
    assert parts["teacher_features"].item() == pytest.approx(0.5 * (first + second) / 2, rel=1e-2)
    pixels = 0.0625 * MOST_SNR + 0.25 * snr
    assert parts["teacher_pixels"].item() == pytest.approx(0.5 * pixels / 2, rel=1e-2)
    kl = [
        reverse_step_kl(LEVELS[k], blocks[i], blocks[i] + 0.5, -torch.ones(48, 8, 8)).mean()
        for i, k in enumerate(level.tolist())
    ]
    assert parts["bound"].item() == pytest.approx(torch.stack(kl).mean().item(), rel=1e-3)
    assert loss.item() == pytest.approx(sum(part.item() for part in parts.values()), rel=1e-5)


def test_the_cleanest_step_of_all_has_no_bound(small_cache: FeatureCache) -> None:
    config = changed(chain_steps=(0, 50))
    network, other = Scaling(), Scaling()
    made = StudentObjective(small_cache, LAYOUT, config, levels_of((0, 50)), Lessons(), CPU)
    _, parts = made(network, step_generator(0, 0))
    half = StudentObjective(small_cache, LAYOUT, config, levels_of((50, 50)), Lessons(), CPU)
    _, whole = half(other, step_generator(0, 0))
    assert 0 < parts["bound"] < 0.9 * whole["bound"]
    alone = StudentObjective(small_cache, LAYOUT, config, levels_of((0,)), Lessons(), CPU)
    assert alone(Scaling(), step_generator(0, 0))[1]["bound"] == 0


def test_the_floor_of_the_variance_is_noise_on_the_truth(small_cache: FeatureCache) -> None:
    blocks, truth = truth_of(small_cache, drawn())
    oracle = Oracle(blocks, tuple(f + 0.5 for f in truth))
    _, parts = objective(small_cache, changed(variance_floor=0.3))(oracle, step_generator(0, 0))
    assert parts["likelihood"].item() == pytest.approx(0.5 * (0.25 + 0.3), rel=1e-4)
    assert parts["features"].item() == pytest.approx(2 * 0.25, rel=1e-4)


def test_the_control_has_no_teacher_in_it(small_cache: FeatureCache) -> None:
    oracle = Oracle(*truth_of(small_cache, drawn()))
    _, without = objective(small_cache)(oracle, step_generator(0, 0))
    assert without.keys() == {"features", "pixels", "likelihood", "bound"}
    unused = Lessons((targets(9.0, small_cache), targets(9.0, small_cache)))
    _, zero = objective(small_cache, changed(teacher=0.0), unused)(oracle, step_generator(0, 0))
    assert zero == without
    assert without["features"] == without["pixels"] == 0


def test_a_student_of_the_teacher_alone(small_cache: FeatureCache) -> None:
    lessons = Lessons((targets(0.25, small_cache), targets(0.25, small_cache)))
    blocks, truth = truth_of(small_cache, drawn())
    oracle = Oracle(blocks + 0.25, tuple(f + 0.25 for f in truth))
    _, parts = objective(small_cache, changed(truth=0.0), lessons)(oracle, step_generator(0, 0))
    assert parts["features"] == parts["pixels"] == 0
    assert parts["teacher_features"].item() == pytest.approx(0, abs=1e-5)
    assert parts["likelihood"].item() == pytest.approx(0.5 * 0.0625, rel=1e-3)  # of its own errors against the truth


def test_defects_are_shown_and_must_be_answered_as_if_they_were_not_there(small_cache: FeatureCache) -> None:
    lessons = Lessons((targets(0.0, small_cache), targets(0.0, small_cache)))
    clean, spoilt = (Oracle(*truth_of(small_cache, drawn())) for _ in range(2))
    objective(small_cache, changed(pasted=0.0), lessons)(clean, step_generator(0, 0))
    _, parts = objective(small_cache, changed(pasted=1.0), lessons)(spoilt, step_generator(0, 0))
    # Who answers with the clean image and its features makes no error.
    assert parts["features"] == parts["pixels"] == 0
    assert parts["teacher_features"].item() == pytest.approx(0, abs=1e-5)
    assert parts["teacher_pixels"].item() == pytest.approx(0, abs=1e-4)
    changes = (spoilt.seen[0] - clean.seen[0]).abs().amax(1)  # same rows, levels and noise
    assert (changes.amax((1, 2)) > 0.02).all()
    assert (changes < 1e-6).float().mean() > 0.3  # a defect, not another picture


def test_the_share_that_is_pasted(small_cache: FeatureCache) -> None:
    count, steps = 0, 12
    for step in range(steps):
        clean, some = (Oracle(*truth_of(small_cache, drawn())) for _ in range(2))
        objective(small_cache, changed(pasted=0.0))(clean, step_generator(0, step))
        objective(small_cache, changed(pasted=0.25))(some, step_generator(0, step))
        count += int(((some.seen[0] - clean.seen[0]).abs().amax((1, 2, 3)) > 1e-6).sum())
    assert count / (steps * BATCH) == pytest.approx(0.25, abs=0.1)


def test_the_images_of_the_cache_are_left_as_they_are(small_cache: FeatureCache) -> None:
    before = np.array(small_cache.images[:])
    objective(small_cache, changed(pasted=1.0))(Oracle(*truth_of(small_cache, drawn())), step_generator(0, 0))
    assert np.array_equal(before, small_cache.images[:])


@pytest.mark.parametrize(("batch", "tolerance"), [(12, 0.0), (6, 0.08)])
def test_levels_take_turns(small_cache: FeatureCache, batch: int, tolerance: float) -> None:
    levels = levels_of((5, 25, 50, 100))
    config = changed(steps=4, optimiser=OptimiserConfig(batch=batch))
    made = StudentObjective(small_cache, LAYOUT, config, levels, Lessons(), CPU)
    network = Scaling()
    for step in range(25):
        made(network, step_generator(0, step))
    counts = torch.stack([torch.bincount(level, minlength=4) for level in network.levels])
    assert (counts.amax(1) - counts.amin(1)).max() <= 1  # as even as a batch can be
    shares = counts.sum(0) / (25 * batch)
    assert (shares - 0.25).abs().max() <= tolerance
    assert len({int(level[0]) for level in network.levels}) == 4  # a row is not bound to a level


def test_the_image_is_noised_to_the_level_that_the_network_is_told(small_cache: FeatureCache) -> None:
    network = Scaling()
    objective(small_cache)(network, step_generator(0, 0))
    x, _ = small_cache.batch(drawn(), CPU)
    for k, level in enumerate(LEVELS):
        own = network.levels[0] == k
        noise = (network.seen[0][own] - level.signal * x[own]) / level.noise
        assert noise.mean().item() == pytest.approx(0, abs=0.03)
        assert noise.std().item() == pytest.approx(1, abs=0.03)


def test_every_step_draws_rows_and_noise_anew(small_cache: FeatureCache) -> None:
    one = changed(steps=1, optimiser=OptimiserConfig(batch=1))
    network = Scaling()
    for step in range(30):
        objective(small_cache, one)(network, step_generator(0, step))
    rows = [int(draw_rows(12, 1, step_generator(0, step))[0]) for step in range(30)]
    again = next(step for step in range(1, 30) if rows[step] == rows[0])
    noise = network.seen[again] - network.seen[0]  # of the same image
    assert noise.std().item() == pytest.approx(LEVELS[0].noise * 2**0.5, rel=0.1)
    assert len(set(rows)) > 8


def test_consistency_by_hand(small_cache: FeatureCache) -> None:
    """Each level answers as the next cleaner one does, to the same image and noise; the cleanest has none."""
    levels = levels_of((5, 50, 100))
    config = changed(consistency=0.25, truth=0.0, optimiser=OptimiserConfig(batch=BATCH))
    network = Scaling()
    loss, parts = StudentObjective(small_cache, LAYOUT, config, levels, Lessons(), CPU)(network, step_generator(0, 0))
    (level, cleaner), (noised, less) = network.levels, network.seen
    behind = level > 0
    assert cleaner.tolist() == (level[behind] - 1).tolist()
    x, _ = small_cache.batch(drawn(), CPU)

    def scale(name: str, of: Tensor) -> Tensor:
        return torch.tensor([getattr(levels[k], name) for k in of.tolist()]).view(-1, 1, 1, 1)

    noise = (noised - scale("signal", level) * x) / scale("noise", level)
    expected = scale("signal", cleaner) * x[behind] + scale("noise", cleaner) * noise[behind]
    torch.testing.assert_close(less, expected, rtol=1e-4, atol=1e-4)

    (x0, f), (x0_less, f_less) = answers(noised[behind]), answers(less)
    gain = network.gain.item()

    def mean(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).mean(1).sum() / BATCH

    pairs = [(x0, x0_less, 1.0), *((a, b, c / 6) for a, b, c in zip(f, f_less, LAYOUT.channels, strict=True))]
    distance = sum(share * mean(a - b, a - b) for a, b, share in pairs)
    assert parts["consistency"].item() == pytest.approx(0.25 * gain**2 * float(distance), rel=1e-4)
    # Only the noisier side is moved: the derivative of (gain a - target)^2, not of (gain a - gain b)^2.
    loss.backward()  # type: ignore[no-untyped-call]
    slope = sum(share * 2 * mean(gain * a - gain * b, a) for a, b, share in pairs)
    assert network.gain.grad is not None
    assert network.gain.grad.item() == pytest.approx(0.25 * float(slope), rel=1e-4)


def test_consistency_does_not_touch_what_batchnorm_has_seen(small_cache: FeatureCache) -> None:
    states = []
    for weight in (0.0, 1.0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            student = Student(LAYOUT, 8, 2, shared=True).train()
        _, parts = objective(small_cache, changed(consistency=weight))(student, step_generator(0, 0))
        assert all(module.training for module in student.modules())
        assert ("consistency" in parts) == (weight > 0)
        states.append(dict(student.named_buffers()))
    assert any("running_mean" in name for name in states[0])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_cleanest_level_is_consistent_with_nobody(small_cache: FeatureCache) -> None:
    """Not with itself either: BatchNorm answers otherwise in training than when it is asked for a target."""
    found = dict[int, float]()
    for step in range(8):
        network = Moody()
        config = changed(consistency=1.0, optimiser=OptimiserConfig(batch=1))
        _, parts = objective(small_cache, config)(network, step_generator(0, step))
        found[int(network.levels[0])] = parts["consistency"].item()
    assert found[0] == 0
    assert found[1] == pytest.approx(2, rel=0.2)  # one for the features, one for the pixels


@pytest.mark.parametrize("pasted", [0.0, 0.6])
def test_shares_make_up_the_global_batch(small_cache: FeatureCache, pasted: float) -> None:
    lessons = Lessons((targets(0.25, small_cache), targets(1.0, small_cache)))
    made = objective(small_cache, changed(pasted=pasted, consistency=0.5), lessons)
    whole, parts = Scaling(), Scaling()
    loss, terms = made(whole, step_generator(0, 3))
    shares = [made(parts, step_generator(0, 3), Share(rank, 3)) for rank in range(3)]
    assert torch.equal(torch.cat(parts.seen[::2]), whole.seen[0])
    assert torch.equal(torch.cat(parts.levels[::2]), whole.levels[0])
    torch.testing.assert_close(torch.stack([part for part, _ in shares]).mean(), loss)
    for name, term in terms.items():
        torch.testing.assert_close(torch.stack([part[name] for _, part in shares]).mean(), term)


def test_a_chain_is_asked_about_the_clean_image(small_cache: FeatureCache) -> None:
    """Where a chain is halved the answers are made on the way: to the same noise, without the defect that is shown."""
    asked = list[tuple[Tensor, Tensor]]()
    blocks, truth = truth_of(small_cache, drawn())

    def chain(x_t: Tensor, level: Tensor) -> tuple[Tensor, Grids]:
        asked.append((x_t, level))
        return blocks + 0.5, tuple(f + 0.5 for f in truth)

    clean, spoilt = Oracle(blocks, truth), Oracle(blocks, truth)
    objective(small_cache)(clean, step_generator(0, 0))
    lessons = Lessons(chain=chain)  # type: ignore[arg-type]
    _, parts = objective(small_cache, changed(pasted=1.0), lessons)(spoilt, step_generator(0, 0))
    ((x_t, level),) = asked
    assert torch.equal(x_t, clean.seen[0])
    assert not torch.equal(x_t, spoilt.seen[0])
    assert torch.equal(level, spoilt.levels[0])
    assert parts["teacher_features"].item() == pytest.approx(0.5 * 0.25, rel=1e-4)


def fitted(cache: FeatureCache, config: DistilConfig, lessons: Lessons | None = None) -> tuple[Student, int]:
    student, outcome = fit_student(
        config, cache, LAYOUT, LEVELS[: config.steps], lessons or Lessons(), None, World(CPU)
    )
    return student, outcome.step


def test_several_cpu_processes_are_refused(small_cache: FeatureCache) -> None:
    with pytest.raises(InputError, match="over 2 CPU processes is not possible"):
        fit_student(CONFIG, small_cache, LAYOUT, LEVELS, Lessons(), None, World(CPU, 0, 2))


def test_consistency_of_a_single_level_is_refused(small_cache: FeatureCache) -> None:
    config = changed(steps=1, chain_steps=(5,), consistency=0.5)
    with pytest.raises(InputError, match="consistency between levels needs more than one"):
        fitted(small_cache, config)


@pytest.mark.parametrize("shared", [True, False])
def test_the_averaged_student_is_handed_back(small_cache: FeatureCache, shared: bool) -> None:
    state = torch.random.get_rng_state()
    config = changed(shared=shared, pasted=0.5)
    student, steps = fitted(small_cache, config)
    assert isinstance(student, Student)
    assert not student.training
    assert (steps, len(student.trunks), student.folded) == (3, 1 if shared else 2, False)
    same, _ = fitted(small_cache, config)
    for a, b in zip(student.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(state, torch.random.get_rng_state())
