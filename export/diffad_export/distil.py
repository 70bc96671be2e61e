"""From a run's teacher to a student: lessons, training, and a folder that a second export takes up again."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diffad_export.checkpoint import load_tensors, save_tensors, write_json
from diffad_export.config import DistilConfig
from diffad_export.distributed import World, join_world
from diffad_export.feature_cache import FeatureCache
from diffad_export.grids import FromOneGrid, GridLayout
from diffad_export.mapbank import make_map_bank
from diffad_export.networks.student import Student
from diffad_export.reconstructor import levels_of
from diffad_export.runfolder import Run
from diffad_export.split import Split
from diffad_export.training.halving import (
    TwoSteps,
    chain_length,
    chain_levels,
    inherit,
    rounds,
    student_answer,
    teacher_answer,
)
from diffad_export.training.lessons import Lessons
from diffad_export.training.loop import Outcome
from diffad_export.training.mapmatch import MapMatching
from diffad_export.training.student import fit_student, refuse_cpu_processes
from diffad_export.training.targets import teacher_targets
from diffad_runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Distilled:
    """A trained student, not yet folded, and how its training ended."""

    student: Student
    folder: Path
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Material:
    """What a student is made from: one category of a run.

    Attributes:
        cache: its training images with features, standardised as the teacher's.
        layout: of the student's features.
    """

    run: Run
    split: Split
    cache: FeatureCache
    layout: GridLayout


def distil(material: Material, config: DistilConfig, device: torch.device) -> Distilled:
    """Train the student of `config`, or open it where this run already has it; an interrupted one is resumed.

    With a weight of 0 for the teacher and for its maps the same network is trained without a teacher: the control.

    Args:
        config: with its levels chosen.

    Raises:
        InputError: several CPU processes, consistency with one level, or more halvings than the levels below the last
            one allow.
        ValueError: levels not chosen.
    """
    if config.chain_steps is None:
        raise ValueError("choose the levels first")
    run, layout = material.run, material.layout
    folder = run.folder / f"student-{_digest(material, config)}"
    weights = folder / "student.safetensors"
    levels = levels_of(tuple(sorted(config.chain_steps)))
    if weights.exists():
        tensors, facts = load_tensors(weights)
        student = Student(layout, config.width, len(levels), shared=config.shared or config.halvings > 0)
        student.load_state_dict(tensors)
        return Distilled(student.eval(), folder, facts)
    world = join_world(device)
    refuse_cpu_processes(world)  # before the teacher's answers are made
    folder.mkdir(exist_ok=True)
    if world.is_main:
        write_json(folder / "config.json", config.model_dump(mode="json"))
    if config.halvings:
        student, outcome = _halved(material, config, folder, world)
    else:
        lessons = _lessons(material, config, world)
        student, outcome = fit_student(config, material.cache, layout, levels, lessons, folder, world, resume=True)
    facts = {"steps": outcome.step, "seconds": outcome.seconds, "loss": outcome.losses[-1][1]}
    if world.is_main:
        save_tensors(weights, dict(student.state_dict()), facts)
    return Distilled(student, folder, facts)


def _lessons(material: Material, config: DistilConfig, world: World) -> Lessons:
    run, cache, layout, wanted = material.run, material.cache, material.layout, config.losses
    if wanted.teacher == 0 and wanted.map == 0:
        return Lessons()
    levels = levels_of(tuple(sorted(config.chain_steps or ())))
    teacher = run.teacher()
    targets = tuple(
        teacher_targets(
            run.cache_folder, teacher, cache, level, layout, draws=config.draws, seed=config.seed, world=world
        )
        for level in levels
        if wanted.teacher > 0
    )
    if wanted.map == 0:
        return Lessons(targets)
    bank = make_map_bank(run, material.split, layout, seed=config.seed)
    return Lessons(targets, MapMatching(bank, layout, levels))


def _halved(material: Material, config: DistilConfig, folder: Path, world: World) -> tuple[Student, Outcome]:
    """Round by round, each with its share of the steps and minutes; the levels end at the noisiest that was chosen."""
    run, cache, layout, count = material.run, material.cache, material.layout, config.halvings
    last = max(config.chain_steps or ())
    if chain_length(config.steps, count) > last + 1:
        raise InputError(
            f"{count} halvings need a chain of {chain_length(config.steps, count)} levels, step {last} has {last + 1}",
            mend="Ask for fewer halvings, or for a noisier last level in chain_steps",
        )
    limits = config.optimiser
    each = limits.model_copy(
        update={
            "steps": max(1, limits.steps // count),
            "max_minutes": limits.max_minutes and limits.max_minutes / count,
        }
    )
    to_layout = FromOneGrid(layout, cache.images.shape[1], cache.grid_stride).to(world.device)
    steps = chain_levels(chain_length(config.steps, count), last)
    levels, label = levels_of(steps), run.label(material.split.name)
    before = teacher_answer(run.teacher().to(world.device), levels, to_layout, label)
    student: Student | None = None
    done, seconds = 0, 0.0
    losses: list[tuple[int, float]] = []
    for number in rounds(config.steps, count):
        lessons = Lessons(chain=TwoSteps(before, levels))
        levels = levels[1::2]
        now = config.model_copy(update={"optimiser": each, "shared": True})
        begin = None if student is None else partial(inherit, before=student)
        student, outcome = fit_student(
            now, cache, layout, levels, lessons, folder, world, resume=True, begin=begin, name=f"student-of-{number}"
        )
        losses += [(done + step, loss) for step, loss in outcome.losses]
        done, seconds = done + outcome.step, seconds + outcome.seconds
        before = student_answer(student.to(world.device))
    if student is None:
        raise ValueError("a chain that is halved needs rounds")
    return student.cpu(), Outcome(done, seconds, losses)


def _digest(material: Material, config: DistilConfig) -> str:
    teacher = hashlib.sha256((material.run.folder / "teacher.safetensors").read_bytes()).hexdigest()
    named = f"{teacher} {material.split.digest} {material.layout} {config.model_dump_json()}"
    return hashlib.sha256(named.encode()).hexdigest()[:12]
