"""`train` in two processes under torchrun, over gloo, against one process: same cache, same losses, same weights.

Then Ctrl-C in one of the two, and the rest of the run in a single process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffad_export.checkpoint import load_tensors
from diffad_export.config import AugmentConfig, OptimiserConfig, TeacherConfig, TrainConfig
from diffad_export.train import train
from diffad_export.training import loop

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
CONFIG = TrainConfig(
    size=64,
    augment=AugmentConfig(samples=96),  # two shards, one for each process
    teacher=TeacherConfig(widths=(16, 32), bf16="off"),
    optimiser=OptimiserConfig(steps=6, batch=4, learning_rate=1e-3, warmup_steps=2),
)
# Both runs in one start of torchrun: most of its time is spent importing.
WORKER = """
import json, os, signal, sys
from pathlib import Path
from diffad_export.config import TrainConfig
from diffad_export.train import train
from diffad_export.training import loop
from diffad_export.training.teacher import TeacherObjective

data, out = Path(sys.argv[1]), Path(sys.argv[2])
config = TrainConfig.model_validate_json(sys.argv[3])
rank, loop.LOG_EVERY = int(os.environ["RANK"]), 1
train(data, out / "straight", config, device="cpu")

whole, calls = TeacherObjective.__call__, []
def interrupted(self, *arguments):
    calls.append(1)
    if len(calls) == 3 and rank == 1:
        signal.raise_signal(signal.SIGINT)
    return whole(self, *arguments)
TeacherObjective.__call__ = interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    train(data, out / "parts", config, device="cpu")
except KeyboardInterrupt:
    (out / f"rank-{rank}").write_text(str(len(calls)))
"""


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "teacher-log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def torchrun(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


def difference(one: Path, other: Path) -> float:
    """Largest difference of the averaged weights.

    Biases are left out: those in front of a group norm have no gradient but rounding, which Adam makes steps of.
    """
    first, second = load_tensors(one / "teacher.safetensors")[0], load_tensors(other / "teacher.safetensors")[0]
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first if not name.endswith("bias"))


def test_two_processes_train_as_one(line_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(line_data, tmp_path / "one", CONFIG, device="cpu")
        script = tmp_path / "worker.py"
        script.write_text(WORKER)
        done = torchrun(str(script), str(line_data), str(tmp_path), CONFIG.model_dump_json())
        assert done.returncode == 0, done.stderr[-3000:]
        interrupted = losses(tmp_path / "parts")
        train(line_data, tmp_path / "parts", CONFIG, device="cpu", resume=True)
    finally:
        torch.set_num_threads(threads)

    one = losses(tmp_path / "one")
    assert len(one) == 6
    for run in ("straight", "parts"):
        np.testing.assert_allclose(losses(tmp_path / run), one, rtol=0, atol=TOLERANCE, err_msg=run)
        assert difference(tmp_path / "one", tmp_path / run) < TOLERANCE, run

    # Ctrl-C in the second process stopped both after the same step.
    assert len(interrupted) == 3
    assert [(tmp_path / f"rank-{rank}").read_text() for rank in (0, 1)] == ["3", "3"]

    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one" / "cache").rglob("*.npy")]
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "straight" / file).read_bytes() == (tmp_path / "one" / file).read_bytes(), file
    assert not list(tmp_path.rglob("*.part"))


def test_what_only_the_main_process_finds_ends_all_without_a_traceback(line_data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    done = torchrun("-m", "diffad_edge", "train", "--data", str(line_data), "--out", str(tmp_path), "--device", "cpu")
    assert done.returncode != 0
    ours = done.stderr.split("torch/distributed")[0]  # torchrun's own account of its children comes after
    assert "already holds a run" in ours
    assert "the main process gave up" in ours
    assert "Traceback" not in ours
