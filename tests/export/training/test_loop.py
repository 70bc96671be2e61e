"""The loop on a problem of a few numbers: annealing, averaging, limits, log, and what stops it."""

import itertools
import json
import math
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from diffad_export.config import OptimiserConfig
from diffad_export.distributed import Share, World
from diffad_export.training.loop import Trainer, anneal, step_generator
from diffad_runtime.errors import DiffadError, InputError

TARGET = torch.tensor([[1.0, -2.0, 3.0]])


class Fit:
    """Squared distance of a linear layer from TARGET; remembers weights before each step, breaks where told."""

    def __init__(self, breaks: dict[int, float | signal.Signals] | None = None) -> None:
        self.breaks, self.weights, self.draws = breaks or {}, list[Tensor](), list[float]()

    def __call__(
        self, network: nn.Module, generator: torch.Generator, share: Share
    ) -> tuple[Tensor, dict[str, Tensor]]:
        assert share == Share()
        step = len(self.weights)
        assert isinstance(network, nn.Linear)
        self.weights.append(network.weight.detach().clone())
        self.draws.append(float(torch.rand(1, generator=generator)))
        what = self.breaks.get(step)
        if isinstance(what, signal.Signals):
            signal.raise_signal(what)  # in the middle of a step
            what = None
        loss = (network.weight - TARGET).square().sum()
        return loss * what if what is not None else loss, {"distance": loss.detach()}


def linear() -> nn.Linear:
    layer = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def trainer(folder: Path | None = None, objective: Fit | None = None, **changes: object) -> Trainer:
    config = OptimiserConfig(**({"steps": 25, "learning_rate": 0.1, "warmup_steps": 0, "ema": 0.9} | changes))  # type: ignore[arg-type]
    return Trainer(linear(), objective or Fit(), config, folder, seed=3, name="toy")


def read_log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "toy-log.jsonl").read_text().splitlines()]


def test_annealing_curves() -> None:
    for kind in ("cosine", "linear"):
        assert (anneal(kind, 0), anneal(kind, 0.5)) == pytest.approx((1, 0.5))
        assert anneal(kind, 1) == pytest.approx(0)
        assert anneal(kind, 1.7) == anneal(kind, 1)
    assert anneal("linear", 0.25) == 0.75
    assert anneal("cosine", 0.25) == pytest.approx(0.5 + 0.5 * math.cos(math.pi / 4))


def test_the_rate_warms_up_and_is_annealed(tmp_path: Path) -> None:
    trainer(tmp_path, steps=40, warmup_steps=20, anneal="linear").run()
    rates = {line["step"]: line["rate"] for line in read_log(tmp_path)}
    # line n tells of step n - 1, at progress (n - 1) / 40
    assert rates[1] == pytest.approx(0.1 / 20)
    assert rates[10] == pytest.approx(0.1 * 10 / 20 * (1 - 9 / 40))
    assert rates[30] == pytest.approx(0.1 * (1 - 29 / 40))
    assert list(rates) == [1, 10, 20, 30, 40]


def test_it_trains_and_logs(tmp_path: Path) -> None:
    run = trainer(tmp_path, steps=100)
    outcome = run.run()
    assert outcome.step == 100
    torch.testing.assert_close(run.network.weight, TARGET, rtol=0, atol=0.1)
    lines = read_log(tmp_path)
    assert [(line["step"], line["loss"]) for line in lines] == outcome.losses
    assert lines[0]["loss"] == lines[0]["distance"] == pytest.approx(14)
    assert lines[-1]["loss"] < 0.1
    assert lines[-1]["seconds"] <= outcome.seconds + 0.01


def test_the_average_follows_the_weights() -> None:
    objective = Fit()
    run = trainer(objective=objective, steps=30)
    run.run()
    after_each_step = [*objective.weights[1:], run.network.state_dict()["weight"]]
    average = torch.zeros(1, 3)
    for step, weights in enumerate(after_each_step):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weights
    torch.testing.assert_close(run.ema["weight"], average)


def test_random_numbers_depend_on_seed_and_step_alone() -> None:
    a, b, c = Fit(), Fit(), Fit()
    trainer(objective=a).run()
    trainer(objective=b, learning_rate=0.01).run()
    assert a.draws == b.draws
    assert len(set(a.draws)) == 25
    assert a.draws[7] == float(torch.rand(1, generator=step_generator(3, 7)))
    Trainer(linear(), c, OptimiserConfig(steps=25), None, seed=4, name="toy").run()
    assert not set(a.draws) & set(c.draws)


def test_gradients_are_clipped() -> None:
    objective = Fit({0: 1e6})
    run = trainer(objective=objective, steps=1)
    run.run()
    assert run.network.weight.grad.norm().item() == pytest.approx(1, rel=1e-3)  # type: ignore[union-attr,operator]


def test_minutes_end_a_run_that_steps_would_not(tmp_path: Path) -> None:
    begin = time.monotonic()
    outcome = trainer(tmp_path, steps=10**9, max_minutes=0.01).run()
    assert 0.55 < outcome.seconds < 5
    assert time.monotonic() - begin < 10
    assert 1 < outcome.step < 10**9
    # Annealed over the minutes, not over the steps: each logged rate is that of a moment between the line before it and
    # its own, however long the machine stood still in between. Logged seconds are rounded to hundredths.
    log = read_log(tmp_path)
    assert len(log) > 2
    for before, line in itertools.pairwise(log):
        early, late = (before["seconds"] - 0.006) / 0.6, (line["seconds"] + 0.006) / 0.6
        assert 0.1 * anneal("cosine", late) <= line["rate"] <= 0.1 * anneal("cosine", early)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, value: float) -> None:
    with pytest.raises(DiffadError, match=r"the loss of toy became (nan|inf) at step 4\. Train with a lower"):
        trainer(tmp_path, Fit({4: value})).run()


def test_a_gradient_that_is_no_number_stops_the_run_before_the_step(tmp_path: Path) -> None:
    class Steep(Fit):
        """A finite loss whose gradient is not."""

        def __call__(
            self, network: nn.Module, generator: torch.Generator, share: Share
        ) -> tuple[Tensor, dict[str, Tensor]]:
            loss, parts = super().__call__(network, generator, share)
            return loss + (network.weight * 0).abs().sqrt().sum(), parts  # type: ignore[operator,union-attr]

    run = trainer(tmp_path, Steep())
    with pytest.raises(DiffadError, match="the gradient of toy became nan at step 0"):
        run.run()
    assert torch.equal(run.network.weight, torch.zeros(1, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch", "size", "even"), [(8, 3, "1, 2, 4, 8"), (4, 8, "1, 2, 4")])
def test_a_batch_that_cannot_be_shared_is_refused(batch: int, size: int, even: str) -> None:
    config = OptimiserConfig(batch=batch)
    message = f"a batch of {batch} cannot be shared evenly by {size} processes. Start {even} processes, or"
    with pytest.raises(InputError, match=message):
        Trainer(linear(), Fit(), config, None, seed=0, name="toy", world=World(torch.device("cpu"), 0, size))


def test_a_spoiled_network_does_not_replace_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, Fit({5: signal.SIGINT})).run()
    good = (tmp_path / "toy-checkpoint.safetensors").read_bytes()
    spoiled = trainer(tmp_path)
    spoiled.network.load_state_dict({"weight": torch.full((1, 3), math.nan)})
    with pytest.raises(DiffadError):
        spoiled.run()
    assert (tmp_path / "toy-checkpoint.safetensors").read_bytes() == good


def test_ctrl_c_ends_the_step_leaves_a_checkpoint_and_passes_on(tmp_path: Path) -> None:
    whole, cut = Fit(), Fit({5: signal.SIGINT})
    trainer(objective=whole).run()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, cut).run()
    assert len(cut.weights) == 6
    rest = Fit()
    trainer(tmp_path, rest).run(resume=True)
    assert torch.equal(torch.stack(cut.weights + rest.weights), torch.stack(whole.weights))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("keep", [0, 7, 200, -5])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, keep: int) -> None:
    trainer(tmp_path).run()
    path = tmp_path / "toy-checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"cannot read the weights in .*toy-checkpoint"):
        trainer(tmp_path).run(resume=True)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).run()
    other = Trainer(nn.Linear(4, 1), Fit(), OptimiserConfig(steps=5), tmp_path, seed=0, name="toy")
    with pytest.raises(InputError, match="holds another network"):
        other.run(resume=True)
