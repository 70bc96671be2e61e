"""The training loop: AdamW, EMA, annealing, clipping, checkpoints, resume, progress.

Knows nothing of what is trained: an objective maps (step) to a loss. Every random number of a step comes from the pair
(seed, step), so a resumed run draws what an uninterrupted one would have drawn.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from diffad_export.checkpoint import load_tensors, save_tensors
from diffad_export.config import OptimiserConfig
from diffad_export.progress import bar
from diffad_export.training.interrupt import deferred_interrupt
from diffad_runtime.errors import DiffadError, InputError

CHECKPOINT_SECONDS = 60.0
LOG_EVERY = 10

# (network, generator of this step) -> the loss and its named parts
Objective = Callable[[nn.Module, torch.Generator], tuple[Tensor, dict[str, float]]]


@dataclass(slots=True)
class Outcome:
    """How far a run is: steps done, seconds spent in all sittings, logged losses as (step, loss)."""

    step: int
    seconds: float
    losses: list[tuple[int, float]] = field(default_factory=list)


def anneal(kind: str, progress: float) -> float:
    """Factor on the learning rate at `progress` in 0..1 of the run: 1 down to 0."""
    p = min(max(progress, 0.0), 1.0)
    return 1 - p if kind == "linear" else 0.5 * (1 + math.cos(math.pi * p))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step, from (seed, step) alone."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step * 7_919 + 1) & 0x7FFF_FFFF_FFFF_FFFF)


class Trainer:
    """Trains `network` in place and keeps an exponential moving average of it.

    Args:
        network: what is trained.
        objective: gives the loss of one step.
        config: optimiser and limits. With `max_minutes` the learning rate is annealed over whichever of steps and
            minutes is nearer to its end; without, a resumed run is exactly the uninterrupted one.
        folder: where checkpoint and log are written; None for neither.
        seed: of the run.
        name: prefix of the files and label of the bar.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        config: OptimiserConfig,
        folder: Path | None,
        seed: int,
        name: str,
    ) -> None:
        self.network, self.objective, self.config = network, objective, config
        self.folder, self.seed, self.name = folder, seed, name
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.ema = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.outcome = Outcome(0, 0.0)

    @property
    def checkpoint(self) -> Path | None:
        """The file that a run is resumed from."""
        return self.folder / f"{self.name}-checkpoint.safetensors" if self.folder else None

    def run(self, *, resume: bool = False) -> Outcome:
        """Train to the end of steps or minutes. Ctrl-C lets the step end, writes a checkpoint, then passes on."""
        if resume and self.checkpoint and self.checkpoint.exists():
            self._load(self.checkpoint)
        begin, saved = time.monotonic() - self.outcome.seconds, time.monotonic()
        with deferred_interrupt() as interrupt, bar(note=True) as progress:
            task = progress.add_task(f"Training {self.name}", total=self.config.steps, note="")
            while self._progress(time.monotonic() - begin) < 1 and not interrupt.raised:
                loss, rate, parts = self._step(time.monotonic() - begin)
                self.outcome.seconds = time.monotonic() - begin
                if self.outcome.step % LOG_EVERY == 0 or self.outcome.step == 1:
                    self._log(loss, rate, parts)
                done = self._progress(self.outcome.seconds)
                progress.update(
                    task,
                    completed=self.outcome.step,
                    total=max(self.outcome.step, round(self.outcome.step / max(done, 1e-9))),
                    note=f"loss {loss:.4f}  rate {rate:.1e}",
                )
                if self.checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save(self.checkpoint)
                    saved = time.monotonic()
            if self.checkpoint:
                self._save(self.checkpoint)
        if interrupt.raised:
            raise KeyboardInterrupt
        return self.outcome

    def _progress(self, seconds: float) -> float:
        minutes = self.config.max_minutes
        by_time = seconds / (60 * minutes) if minutes else 0.0
        return max(self.outcome.step / self.config.steps, by_time)

    def _step(self, seconds: float) -> tuple[float, float, dict[str, float]]:
        step, config = self.outcome.step, self.config
        warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
        rate = config.learning_rate * warm * anneal(config.anneal, self._progress(seconds))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.network.train()
        loss, parts = self.objective(self.network, step_generator(self.seed, step))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DiffadError(
                f"the loss of {self.name} became {value} at step {step}",
                mend="Train with a lower --learning-rate, or with --bf16 off; the last checkpoint is from before",
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        parts["gradient_norm"] = float(norm)
        self.optimiser.step()
        # Young averages follow faster, so that a short run is not an average of its first steps.
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in self.network.state_dict().items():
                if tensor.is_floating_point():
                    self.ema[name].lerp_(tensor, 1 - decay)
                else:
                    self.ema[name].copy_(tensor)
        self.outcome.step += 1
        return value, rate, parts

    def _log(self, loss: float, rate: float, parts: dict[str, float]) -> None:
        self.outcome.losses.append((self.outcome.step, loss))
        if self.folder is None:
            return
        line = {
            "step": self.outcome.step,
            "seconds": round(self.outcome.seconds, 2),
            "loss": loss,
            "rate": rate,
            **parts,
        }
        with (self.folder / f"{self.name}-log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _save(self, path: Path) -> None:
        tensors = {f"network/{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"ema/{k}": v for k, v in self.ema.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"adam/{index}/{k}": v for k, v in state.items()}
        facts = {"step": self.outcome.step, "seconds": self.outcome.seconds, "losses": self.outcome.losses}
        save_tensors(path, tensors, facts)

    def _load(self, path: Path) -> None:
        tensors, facts = load_tensors(path)
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "ema": {}, "adam": {}}
        for name, tensor in tensors.items():
            group, _, rest = name.partition("/")
            groups.setdefault(group, {})[rest] = tensor
        try:
            self.network.load_state_dict(groups["network"])
        except RuntimeError:
            raise InputError(
                f"{path} holds another network than this configuration asks for",
                mend="Resume with the options of the first sitting, or train into a new folder",
            ) from None
        self.ema = {k: groups["ema"][k] for k in self.ema}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in groups["adam"].items():
            index, _, key = name.partition("/")
            state.setdefault(int(index), {})[key] = tensor
        whole = self.optimiser.state_dict()
        whole["state"] = state
        self.optimiser.load_state_dict(whole)
        losses = [(int(step), float(loss)) for step, loss in facts["losses"]]
        self.outcome = Outcome(int(facts["step"]), float(facts["seconds"]), losses)
