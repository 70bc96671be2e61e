"""From a run's teacher to a student: targets, training, and a folder that a second export takes up again."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffad_export.checkpoint import load_tensors, save_tensors, write_json
from diffad_export.config import DistilConfig
from diffad_export.distributed import join_world
from diffad_export.feature_cache import FeatureCache
from diffad_export.networks.student import Student
from diffad_export.reconstructor import levels_of
from diffad_export.runfolder import Run
from diffad_export.training.student import fit_student, refuse_cpu_processes
from diffad_export.training.targets import teacher_targets


@dataclass(frozen=True, slots=True)
class Distilled:
    """A trained student, not yet folded, and how its training ended."""

    student: Student
    folder: Path
    facts: dict[str, Any]


def distil(run: Run, cache: FeatureCache, config: DistilConfig, device: torch.device) -> Distilled:
    """Train the student of `config`, or open it where this run already has it; an interrupted one is resumed.

    With `teacher_weight` 0 the same network is trained without a teacher: the control.
    """
    folder = run.folder / f"student-{_digest(run, config)}"
    weights = folder / "student.safetensors"
    if weights.exists():
        tensors, facts = load_tensors(weights)
        student = Student(cache.features.shape[1], config.width, cache.grid_stride)
        student.load_state_dict(tensors)
        return Distilled(student.eval(), folder, facts)
    world = join_world(device)
    refuse_cpu_processes(world)  # before the teacher's answers are made
    folder.mkdir(exist_ok=True)
    if world.is_main:
        write_json(folder / "config.json", config.model_dump(mode="json"))
    (level,) = levels_of((config.chain_step,))
    targets = None
    if config.teacher_weight > 0:
        targets = teacher_targets(
            run.cache_folder, run.teacher(), cache, level, draws=config.draws, seed=config.seed, world=world
        )
    student, outcome = fit_student(config, cache, targets, level, folder, world, resume=True)
    facts = {"steps": outcome.step, "seconds": outcome.seconds, "loss": outcome.losses[-1][1]}
    if world.is_main:
        save_tensors(weights, dict(student.state_dict()), facts)
    return Distilled(student, folder, facts)


def _digest(run: Run, config: DistilConfig) -> str:
    teacher = hashlib.sha256((run.folder / "teacher.safetensors").read_bytes()).hexdigest()
    return hashlib.sha256(f"{teacher} {config.model_dump_json()}".encode()).hexdigest()[:12]
