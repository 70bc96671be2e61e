"""A models folder whose installers, commits, rollbacks and starts are killed at random moments, again and again.

    python docs/kill_models.py [--rounds 200] [--seed 0] [--folder DIR]

Each round a child process installs signed bundles, commits, rolls back and starts in random order, and writes down
what it is about to do and what it has done. Somewhere within its first five operations it gets SIGKILL: after a random
number of such notes, and a random share of what an operation takes on this machine, as loaded as it is. Then the
folder must be as it was before the operation that was cut short, or as after it; a start must give a whole model whose
signature is right; nothing may be left over; no version's floor may fall; and once a model was committed there must
always be one. Real files, locks, signatures and verification; the self-test alone is a made one, as an engine would
take most of the time.

The last line is one JSON object; exit code 1 where anything did not hold.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from diffad_runtime.bundle import Bundle, describe_members, open_bundle, write_bundle
from diffad_runtime.manifest import Backbone, ImageScore, Manifest, Reconstruction, Thresholds, Variant
from diffad_runtime.models import SelfTest, TrialSettings, active, commit, install, rollback, status
from diffad_runtime.models.folder import STATE_FILES
from diffad_runtime.trust import KeyPair, Policy, TrustStore, make_key, sign_bundle

SETTINGS = TrialSettings(most_starts=1_000_000)
GRAPHS = {"extractor": "graphs/extractor.fp32.onnx", "reconstructor": "graphs/reconstructor.fp32.onnx"}


@dataclass(frozen=True)
class Expected:
    """Versions, 0 where there is none."""

    current: int = 0
    previous: int = 0
    trial: int = 0
    floor: int = 0

    def after(self, what: str, version: int) -> "Expected":
        if what == "install":
            return replace(self, trial=version)
        if what == "commit":
            floor = max(self.floor, min(one for one in (self.trial, self.current) if one))
            return Expected(self.trial, self.current, 0, floor)
        if what == "rollback" and self.trial:
            return replace(self, trial=0)
        if what == "rollback":
            return replace(self, current=self.previous, previous=0)
        return self  # a start

    def possible(self) -> list[str]:
        made = ["start", "start"] if self.trial or self.current else []
        made += ["commit", "commit", "rollback"] if self.trial else ["install", "install"]
        return made + (["rollback"] if self.previous and not self.trial else [])


class Made:
    """Bundles of two graphs that do nothing, in any version; all alike but for it."""

    def __init__(self, folder: Path) -> None:
        from onnx import TensorProto, helper  # noqa: PLC0415, TID251  nobody else here needs it

        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
        body = bytes(helper.make_model(graph).SerializeToString())
        self.members = dict.fromkeys(GRAPHS.values(), body)
        self.manifest = Manifest(
            model_id="killed",
            version=1,
            created=datetime(2026, 1, 1, tzinfo=timezone.utc),
            input_size=32,
            grid=8,
            backbone=Backbone(name="none", strides=[4], channels=[3], licence="none"),
            reconstruction=Reconstruction(
                steps=1, levels=[200], alpha=0.5, feature_score="residual", smoothing_sigma=0.0
            ),
            image_score=ImageScore(pixels=4),
            thresholds=Thresholds(
                pixel=2.0, image=2.0, good_images=20, false_reject_rate=0.05, guaranteed_rate=0.05, pixel_rate=0.001
            ),
            variants={"fp32": Variant(precision="fp32", target="any", **GRAPHS)},
            default_variant="fp32",
            members=describe_members(self.members),
        )
        self.folder = folder
        self.pair: KeyPair = make_key(folder / "line.key")
        (folder / "keys").mkdir(mode=0o755)
        shutil.copyfile(self.pair.public, folder / "keys" / "line.pub")
        self.policy = Policy(True, TrustStore(folder / "keys"))

    def bundle(self, version: int) -> Path:
        path = self.folder / f"{version}.diffad"
        write_bundle(path, self.manifest.model_copy(update={"version": version}), self.members)
        sign_bundle(path, self.pair.private)
        return path


def passes(bundle: Bundle) -> SelfTest:
    time.sleep(0.002)
    return SelfTest("none", bundle.manifest.default_variant, 0, (), 0.0)


def work(models: Path, made: Made, state: Expected, highest: int, notes: int, rng: random.Random) -> None:
    """Until it is killed."""
    while True:
        what = rng.choice(state.possible())
        version = 0
        if what == "install":
            version = highest = highest + 1
            path = made.bundle(version)
        os.write(notes, f"{what} {version}\n".encode())
        if what == "install":
            install(models, path, policy=made.policy, test=passes)
            path.unlink()
        elif what == "commit":
            commit(models)
        elif what == "rollback":
            rollback(models)
        else:
            active(models, policy=made.policy, settings=SETTINGS)
        os.write(notes, b"done\n")
        state = state.after(what, version)


def found_on(models: Path) -> Expected:
    """As the folder's state says, before anything mends it."""
    if not (models / "generations").is_dir():
        return Expected()
    told = status(models, verify=False)
    versions = {one.role: one.version for one in told.generations}
    return Expected(**versions, floor=told.floors.get("killed", 0))


def left_over(models: Path) -> list[str]:
    named = {one.path.name for one in status(models, verify=False).generations}
    own = {"generations", "versions.json", "state.lock", "install.lock", *STATE_FILES}
    extra = [path.name for path in models.iterdir() if path.name not in own]
    return extra + [path.name for path in (models / "generations").iterdir() if path.name not in named]


def checked(models: Path, made: Made, before: Expected, after: Expected) -> tuple[Expected, list[str]]:
    """What the folder is now, and what does not hold."""
    faults: list[str] = []
    if not (models / "generations").is_dir():
        return Expected(), [] if before == Expected() else ["the folder is gone"]
    found, refused = None, ""
    try:
        found = active(models, policy=made.policy, settings=SETTINGS)
    except Exception as error:
        refused = f"{type(error).__name__}: {error}"
    now = found_on(models)
    if refused and (now.current or now.trial):
        faults.append(f"no start: {refused}")
    if now not in (before, after):
        faults.append(f"found {now}, expected {before} or {after}")
    if now.floor < before.floor:
        faults.append(f"the floor fell from {before.floor} to {now.floor}")
    if found is not None:
        if found.version != (now.trial or now.current) or open_bundle(found.path).digest != found.digest:
            faults.append(f"version {found.version} was started, state is {now}")
        if not found.trusted.checked:
            faults.append("a signature was not checked")
    if before.current and not now.current:
        faults.append("a model was committed, and there is none")
    faults += [f"left over: {name}" for name in left_over(models)]
    faults += [f"{one.role}: {one.fault}" for one in status(models).generations if one.fault]
    faults += list(status(models).faults)
    return now, faults


def waited(notes: Path, lines: int, pace_s: float) -> float:
    """Until the child wrote so many lines; seconds a line, or `pace_s` where none was waited for."""
    began = time.monotonic()
    while notes.read_bytes().count(b"\n") < lines and time.monotonic() < began + 20:
        time.sleep(0.0005)
    return (time.monotonic() - began) / lines if lines else pace_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    began, rng = time.monotonic(), random.Random(arguments.seed)
    counts: Counter[str] = Counter()
    cut: Counter[str] = Counter()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root = Path(name)
        made, models, notes_file = Made(root / "made"), root / "models", root / "notes"
        state, highest, pace_s = Expected(), 0, 0.02
        for number in range(arguments.rounds):
            notes_file.write_bytes(b"")
            notes = os.open(notes_file, os.O_WRONLY | os.O_APPEND)
            child = os.fork()
            if child == 0:
                try:
                    work(models, made, state, highest, notes, random.Random(rng.random()))
                except BaseException as error:
                    os.write(notes, f"failed {type(error).__name__}: {error}\n".encode())
                finally:
                    os._exit(1)
            pace_s = 0.8 * pace_s + 0.2 * waited(notes_file, rng.randrange(10), pace_s)
            time.sleep(2 * rng.random() * pace_s)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(notes)
            rng.random()  # the child took one of its own copy
            before = after = state
            under_way = ""
            for line in notes_file.read_text().splitlines():
                what, _, rest = line.partition(" ")
                if what == "failed":
                    faults.append(f"round {number}: an operation failed: {rest}")
                elif what == "done":
                    counts[under_way] += 1
                    before, under_way = after, ""
                else:
                    under_way, after = what, before.after(what, int(rest))
                    highest = max(highest, int(rest))
            raw = found_on(models) if before != Expected() else before
            state, wrong = checked(models, made, before, after)
            faults += [f"round {number}, cut short: {under_way or 'nothing'}: {one}" for one in wrong]
            cut[under_way or "between two"] += 1
            cut["with something to mend"] += raw != state
            cut["as if it were done"] += bool(under_way) and after != before and state == after
    line = {
        "rounds": arguments.rounds,
        "seed": arguments.seed,
        "done": dict(sorted(counts.items())),
        "cut_short": dict(sorted(cut.items())),
        "highest_version": highest,
        "floor": state.floor,
        "broken_starts": len(faults),
        "faults": faults[:20],
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(line))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
