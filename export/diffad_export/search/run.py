"""The order of a search: time what is cheap to time, train what may win, and export who won.

Latency first, since speed does not depend on what was learned: what is beyond the budget is never trained. Every figure
is stored at once and never measured again; Ctrl-C leaves the rest to the next call.
Knows no file format, no graph and no rule of choice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from diffad_calibration.precision.variants import Graphs
from diffad_export.config import DistilConfig
from diffad_export.device import pick_device
from diffad_export.distributed import is_alone
from diffad_export.exportoptions import ExportOptions
from diffad_export.recipe import ExportSummary, category_split, export
from diffad_export.runfolder import Run, open_run
from diffad_export.search.accuracy import gate_set, teacher_aupro, train_and_judge
from diffad_export.search.blank import blank_graphs, gmacs_of
from diffad_export.search.candidates import PRECISIONS, Candidate, SearchOptions, Shape, config_of
from diffad_export.search.estimate import FAR, anchors, estimates
from diffad_export.search.pareto import Limits, Row, choose, worth_training
from diffad_export.search.record import Record, accuracy_key, timing_key
from diffad_export.search.stopwatch import BUSY, Timing, Track, race
from diffad_export.search.table import below_the_floor, nothing_fits, table_of
from diffad_export.split import Split
from diffad_export.student_model import student_extractor
from diffad_runtime.errors import InputError

NEAR = 0.1
"""Share of the budget; who is as near to it is timed again, before it is dropped or trusted."""
AGAIN = 4  # times the rounds
TOGETHER = 12  # graphs held in memory, and timed, at once


class Watch:
    """What a search says while it works; silent unless overridden."""

    def say(self, line: str) -> None:
        """A step begins."""

    def rounds(self, done: int, total: int) -> None:
        """How far a timing is; called between frames, so it must be quick."""

    def table(self, table: dict[str, Any]) -> None:
        """Nothing fits; all that was found."""


def search_export(
    run_folder: Path,
    data: Path,
    out: Path,
    options: ExportOptions,
    wanted: SearchOptions,
    watch: Watch | None = None,
) -> ExportSummary:
    """Find the most accurate student within the budget, and export it in FP32, the precision that won, and
    those of `options` that this machine is not to be judged by.

    Args:
        options: all that candidates share; `max_aupro_drop` bounds the loss against the teacher, and against torch.
            Steps, width and precisions come from `wanted`.

    Raises:
        InputError, DataError: run, data or options cannot be used.
        GateError: nothing fits; says the nearest misses. Nothing is written under `out`, the record stays.
    """
    if not is_alone():
        raise InputError("export works in one process", mend="Start it without torchrun")
    if options.distil.losses.consistency > 0 and 1 in wanted.steps:
        raise InputError("consistency between levels needs more than one", mend="Leave out 1, as in --steps 2,4")
    watch, device, run = watch or Watch(), pick_device(options.device), open_run(run_folder)
    split = category_split(run, data, options.category)
    work = _Work(run, split, options, wanted, device, Record(run, split), watch)
    work.time()
    work.train()
    chosen = choose(work.rows(), work.limits)
    if chosen is None:
        watch.table(work.table())
        raise nothing_fits(work.rows(), work.limits)
    watch.say(f"chosen: {chosen.candidate}, {chosen.p50:.2f} ms at the median, {chosen.p95:.2f} at p95")
    beside = [name for name in options.precisions if name not in PRECISIONS]
    final = replace(options, distil=work.config(chosen.shape), precisions=("fp32", chosen.candidate.precision, *beside))
    return export(run_folder, data, out, final, search=work.table())


@dataclass
class _Work:
    """One call of `search_export`. Whatever it knows of candidates is in the record."""

    run: Run
    split: Split
    options: ExportOptions
    wanted: SearchOptions
    device: torch.device
    record: Record
    watch: Watch

    @cached_property
    def candidates(self) -> list[Candidate]:
        return self.wanted.candidates()

    @cached_property
    def gmacs(self) -> dict[Candidate, float]:
        """Of all evaluations of each candidate."""
        extractor, size, draws = self.extractor, self.run.config.size, self.options.score.draws
        by_shape = {s: gmacs_of(extractor, s, size, draws) for s in {one.shape for one in self.candidates}}
        return {one: by_shape[one.shape] for one in self.candidates}

    @cached_property
    def extractor(self) -> Any:
        return student_extractor(self.run)

    @cached_property
    def track(self) -> Track:
        size = self.run.config.size
        return Track(size, self.wanted.frame_size, min(self.options.score.top_pixels, size**2))

    @property
    def limits(self) -> Limits:
        return Limits(self.wanted.budget_ms, self.options.max_aupro_drop, self.record.found.teacher or 0.0)

    def config(self, shape: Shape) -> DistilConfig:
        """Distillation of a shape, levels as far as they are known."""
        base = self.options.distil
        fixed = base.chain_steps if base.steps == shape.steps else None
        return config_of(base, shape, fixed or self.record.found.levels.get(str(shape.steps)))

    def rows(self) -> list[Row]:
        """What is known of every candidate."""
        found, timed = self.record.found, {one: self._timing(one) for one in self.candidates}
        guessed = estimates(
            self.candidates,
            self.gmacs,
            {one: timing.p50 for one in anchors(self.candidates, self.gmacs) if (timing := timed[one])},
        )
        rows = []
        for one in self.candidates:
            row, timing = Row(one, self.gmacs[one], estimate_ms=guessed.get(one)), timed[one]
            if timing is not None:
                row = replace(row, p50=timing.p50, p95=timing.p95, waited=timing.waited)
            known, confirmed = found.accuracies.get(self._accuracy_key(one)), self._timing(one, trained=True)
            # Measured on another machine: that machine's timing says nothing here, and its graphs must be made again.
            if known is not None and (known.aupro is None or confirmed is not None):
                row = replace(row, aupro=known.aupro, torch_aupro=known.torch_aupro, refused=known.refused)
            if confirmed is not None:
                row = replace(row, confirmed=confirmed.p50, waited=max(row.waited, confirmed.waited))
            rows.append(row)
        return rows

    def table(self) -> dict[str, Any]:
        """All of it in plain values."""
        return table_of(
            self.rows(),
            self.limits,
            draws=self.options.score.draws,
            measured_on=self.track.named(),
            judged=self.record.found.teacher is not None,
        )

    def time(self) -> None:
        """Time the two that estimates rest on, then all that may keep the budget."""
        graphs = self._time_blank(anchors(self.candidates, self.gmacs), {})
        floor = [(str(one), timing) for one in self.candidates if (timing := self._timing(one))]
        if min(timing.around for _, timing in floor) > self.wanted.budget_ms:
            raise below_the_floor(self.limits, floor)
        near = [row.candidate for row in self.rows() if (row.estimate_ms or 0.0) <= FAR * self.wanted.budget_ms]
        # The two run along once more: what is compared is timed side by side.
        self._time_blank(near, graphs)

    def train(self) -> None:
        """Train whoever may still be chosen, until nobody may."""
        if not any(self.limits.fast(row) for row in self.rows()):
            return
        if self.record.found.teacher is None:
            self.watch.say("the teacher on good images with pasted defects")
            self.record.add(teacher=teacher_aupro(self.run, self.split, gate_set(self.run, self.split)))
        while shapes := worth_training(self.rows(), self.limits):
            self._train(shapes[0], len(shapes))

    def _time_blank(self, candidates: Sequence[Candidate], beside: dict[Candidate, Graphs]) -> dict[Candidate, Graphs]:
        """Time those that were not yet, with `beside` in every group; gives their graphs."""
        missing = [one for one in candidates if self._timing(one) is None]
        # Cheap ones first: an interrupted search has then the most candidates behind it.
        missing.sort(key=lambda one: (self.gmacs[one], one))
        graphs: dict[Candidate, Graphs] = {}
        for begin in range(0, len(missing), TOGETHER):
            group = missing[begin : begin + TOGETHER]
            graphs = dict(beside)
            for shape in dict.fromkeys(one.shape for one in group):
                names = [one.precision for one in group if one.shape == shape]
                self.watch.say(f"graphs of {shape}, {' and '.join(names)}, untrained, to be timed")
                made = blank_graphs(self.run, self.extractor, shape, self.options.score, names, self.split.train)
                graphs |= {Candidate(shape, name): one for name, one in made.items()}
            timings = self._race(graphs, certain=False)
            self.record.add(timings={self._timing_key(one, trained=False): t for one, t in timings.items()})
        return graphs

    def _train(self, shape: Shape, still: int) -> None:
        """Train a shape and judge it in every precision that keeps the budget."""
        rows = [row for row in self.rows() if row.shape == shape and self.limits.fast(row) and not row.trained]
        names = [row.candidate.precision for row in rows]
        self.watch.say(f"student {shape}, {' and '.join(names)}; at most {still} to train{self._left(still)}")
        made = train_and_judge(self.run, self.split, self.config(shape), names, self.options, self.device)
        timings = self._race({Candidate(shape, name): one for name, one in made.graphs.items()}, certain=True)
        self.record.add(
            levels={str(shape.steps): made.levels} if made.levels else {},
            timings={self._timing_key(one, trained=True): timing for one, timing in timings.items()},
            accuracies={self._accuracy_key(Candidate(shape, name)): one for name, one in made.accuracies.items()},
        )

    def _race(self, graphs: dict[Candidate, Graphs], *, certain: bool) -> dict[Candidate, Timing]:
        """Time all, then again, and longer, whoever is near the budget; where it must be certain, all beyond it too."""
        if not graphs:
            return {}
        budget, rounds = self.wanted.budget_ms, self.wanted.rounds
        self.watch.say(f"timing {_count(len(graphs))} on {self.track.named()}")
        found = race(graphs, self.track, rounds, self.watch.rounds)
        ratios = {one: timing.p50 / budget for one, timing in found.items()}
        again = {one: graphs[one] for one, r in ratios.items() if abs(r - 1) <= NEAR or (certain and r > 1)}
        if again:
            self.watch.say(f"timing {_count(len(again))} again, {AGAIN} times as long: near the budget")
            found |= race(again, self.track, AGAIN * rounds, self.watch.rounds)
        waited = max(timing.waited for timing in found.values())
        if waited > BUSY:
            self.watch.say(
                f"warning: other processes had the cores {waited:.0%} of the time, so that timings are too long; "
                f"end them and give the same command: it times anew what they disturbed"
            )
        return found

    def _timing(self, candidate: Candidate, *, trained: bool = False) -> Timing | None:
        return self.record.found.timings.get(self._timing_key(candidate, trained=trained))

    def _timing_key(self, candidate: Candidate, *, trained: bool) -> str:
        own = self._accuracy_key(candidate) if trained else ""
        return timing_key(candidate, self.track.named(), self.options.score, own)

    def _accuracy_key(self, candidate: Candidate) -> str:
        base = self.options.distil
        fixed = base.chain_steps if base.steps == candidate.shape.steps else None
        config = config_of(base, candidate.shape, fixed)
        return accuracy_key(candidate, config, self.options)

    def _left(self, still: int) -> str:
        """Of the minutes that trainings took so far, in words; nothing before the first."""
        minutes = [one.minutes for one in self.record.found.accuracies.values() if one.aupro is not None]
        return f", about {max(1, round(fmean(minutes) * still))} min" if minutes else ""


def _count(candidates: int) -> str:
    return f"{candidates} candidate{'' if candidates == 1 else 's'}"
