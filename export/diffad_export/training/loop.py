"""The training loop: AdamW, annealing, clipping, progress, log, and when to stop.

Knows nothing of what is trained: an objective maps (network, random numbers, share) to a loss. Every random number of a
step comes from the pair (seed, step) and is drawn for the global batch, of which each process takes its share. So a
resumed run draws what an uninterrupted one would have drawn, and the loss does not depend on how many processes share
the batch. What the processes must agree on goes through one sum a step: losses, rank 0's clock, Ctrl-C in any of them.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from diffad_export.config import OptimiserConfig
from diffad_export.distributed import Share, World
from diffad_export.progress import bar
from diffad_export.training.average import MovingAverage
from diffad_export.training.checkpointing import load_training, save_training
from diffad_export.training.interrupt import deferred_interrupt
from diffad_runtime.errors import DiffadError, InputError

CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 10

# (network, generator of this step, share of the batch) -> the mean loss over this share, and its named parts, detached
Objective = Callable[[nn.Module, torch.Generator, Share], tuple[Tensor, dict[str, Tensor]]]


@dataclass(slots=True)
class Outcome:
    """How far a run is: steps done, seconds spent in all sittings, logged losses as (step, loss)."""

    step: int
    seconds: float
    losses: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """One step: mean loss over the global batch, learning rate, parts of the loss, whether to stop after it."""

    loss: float
    rate: float
    parts: dict[str, float]
    stop: bool


def anneal(kind: str, progress: float) -> float:
    """Factor on the learning rate at `progress` in 0..1 of the run: 1 down to 0."""
    p = min(max(progress, 0.0), 1.0)
    return 1 - p if kind == "linear" else 0.5 * (1 + math.cos(math.pi * p))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, from (seed, step) alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step * 7_919 + 1) & 0x7FFF_FFFF_FFFF_FFFF)


class Trainer:
    """Trains `network` in place and keeps an exponential moving average of it in `ema`.

    Args:
        network: what is trained.
        objective: gives the loss of one step.
        config: optimiser and limits. With `max_minutes` the learning rate is annealed over whichever of steps and
            minutes is nearer to its end; without, a resumed run is exactly the uninterrupted one.
        folder: where checkpoint and log are written; None for neither.
        seed: of the run.
        name: prefix of the files and label of the bar.
        world: the processes that share each batch; this one alone where not given.

    Raises:
        InputError: the batch cannot be shared evenly.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        config: OptimiserConfig,
        folder: Path | None,
        seed: int,
        name: str,
        world: World | None = None,
    ) -> None:
        self.network, self.objective, self.config = network, objective, config
        self.folder, self.seed, self.name = folder, seed, name
        self.world = world or World(torch.device("cpu"))
        if config.batch % self.world.size:
            even = [n for n in range(1, config.batch + 1) if config.batch % n == 0]
            raise InputError(
                f"a batch of {config.batch} cannot be shared evenly by {self.world.size} processes",
                mend=f"Start {', '.join(map(str, even))} processes, or choose a batch that is a multiple of theirs",
            )
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.average = MovingAverage(network, config.ema)
        self.outcome = Outcome(0, 0.0)

    @property
    def ema(self) -> dict[str, Tensor]:
        """The averaged state, for `load_state_dict`."""
        return self.average.state

    @property
    def checkpoint(self) -> Path | None:
        """The file that a run is resumed from."""
        return self.folder / f"{self.name}-checkpoint.safetensors" if self.folder else None

    def run(self, *, resume: bool = False) -> Outcome:
        """Train to the end of steps or minutes. Ctrl-C lets the step end, writes a checkpoint, then passes on."""
        if resume and self.checkpoint and self.world.any(self.world.is_main and self.checkpoint.exists()):
            self._load(self.checkpoint)
        network = self.world.wrap(self.network).train()
        begin, saved, stop = time.monotonic() - self.outcome.seconds, time.monotonic(), False
        with deferred_interrupt() as interrupt, bar(note=True) as progress:
            task = progress.add_task(f"Training {self.name}", total=self.config.steps, note="")
            while self._progress() < 1 and not stop:
                report = self._step(network, lambda: (time.monotonic() - begin, interrupt.raised))
                stop = report.stop
                if self.outcome.step % LOG_EVERY == 0 or self.outcome.step == 1:
                    self._log(report)
                progress.update(
                    task,
                    completed=self.outcome.step,
                    total=max(self.outcome.step, round(self.outcome.step / max(self._progress(), 1e-9))),
                    note=f"loss {report.loss:.4f}  rate {report.rate:.1e}",
                )
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
            self._save()
            # Also the meeting point that lets nobody go on before the checkpoint is written.
            stop = self.world.any(stop or interrupt.raised)
        if stop:
            raise KeyboardInterrupt
        return self.outcome

    def _progress(self) -> float:
        minutes = self.config.max_minutes
        by_time = self.outcome.seconds / (60 * minutes) if minutes else 0.0
        return max(self.outcome.step / self.config.steps, by_time)

    def _step(self, network: nn.Module, now: Callable[[], tuple[float, bool]]) -> Report:
        step, config = self.outcome.step, self.config
        warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        rate = config.learning_rate * warm * anneal(config.anneal, self._progress())
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, parts = self.objective(network, step_generator(self.seed, step), self.world.share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        measured = {"loss": loss.detach(), **parts, "gradient_norm": norm}
        told, self.outcome.seconds, stop = self._agree(measured, *now())
        value = told.pop("loss")
        if not math.isfinite(value) or not math.isfinite(told["gradient_norm"]):
            what = f"gradient of {self.name} became {told['gradient_norm']}"
            if not math.isfinite(value):
                what = f"loss of {self.name} became {value}"
            raise DiffadError(
                f"the {what} at step {step}",
                mend="Train with a lower --learning-rate, or with --bf16 off; the last checkpoint is from before",
            )
        self.optimiser.step()
        self.average.update(step)
        self.outcome.step += 1
        return Report(value, rate, told, stop)

    def _agree(
        self, measured: dict[str, Tensor], seconds: float, interrupted: bool
    ) -> tuple[dict[str, float], float, bool]:
        """Means over all processes, rank 0's clock, and whether any was interrupted; one transfer from the device."""
        means = torch.stack([value.double() for value in measured.values()]) / self.world.size
        signs = torch.tensor([seconds * self.world.is_main, float(interrupted)], dtype=torch.float64)
        *values, clock, interrupts = self.world.total(torch.cat([means, signs.to(means.device)])).tolist()
        return dict(zip(measured, values, strict=True)), clock, interrupts > 0

    def _log(self, report: Report) -> None:
        self.outcome.losses.append((self.outcome.step, report.loss))
        if self.folder is None or not self.world.is_main:
            return
        line = {
            "step": self.outcome.step,
            "seconds": round(self.outcome.seconds, 2),
            "loss": report.loss,
            "rate": report.rate,
            **report.parts,
        }
        with (self.folder / f"{self.name}-log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self) -> None:
        if self.checkpoint is None or not self.world.is_main:
            return
        facts = {"step": self.outcome.step, "seconds": self.outcome.seconds, "losses": self.outcome.losses}
        save_training(self.checkpoint, self.network, self.average, self.optimiser, facts)

    def _load(self, path: Path) -> None:
        facts = load_training(path, self.network, self.average, self.optimiser)
        losses = [(int(step), float(loss)) for step, loss in facts["losses"]]
        self.outcome = Outcome(int(facts["step"]), float(facts["seconds"]), losses)
