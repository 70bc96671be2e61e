"""How long a model's life takes on this machine: sign, check, install, start, commit, rollback, and a look for changes.

    python docs/time_models.py demo-out/model.diffad [--rounds 10] [--folder DIR] [--json]

Times are wall clock, milliseconds, over --rounds copies of the bundle with rising versions: all bytes are read,
written, synced and verified as on a device. "cpu" is the processor's time, median: on a machine that does other work
too, as its load tells, it is nearest to what a step takes, but for waiting for the disk.
`install` is timed without its self-test, which is timed apart (ONNX Runtime, golden frames; with TensorRT it takes
minutes the first time). `check` is what a start does with a signature: read the keys, verify, read versions.json. The
last line is one JSON object.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from diffad_runtime.bundle import open_bundle, write_bundle
from diffad_runtime.models import SelfTest, Watch, active, commit, install, rollback, self_test, status
from diffad_runtime.trust import Policy, TrustStore, make_key, sign_bundle

T = TypeVar("T")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="on which disk; default: a temporary folder")
    parser.add_argument("--json", action="store_true", help="the last line only")
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {}
    work: dict[str, list[float]] = {}

    def timed(name: str, do: Callable[[], T], of: int = 1) -> T:
        began, worked = time.perf_counter(), time.process_time()
        found = do()
        work.setdefault(name, []).append(1e3 * (time.process_time() - worked) / of)
        times.setdefault(name, []).append(1e3 * (time.perf_counter() - began) / of)
        return found

    base = open_bundle(arguments.model)
    members = {name: base.read(name) for name in base.manifest.members}
    tested = SelfTest("none", "none", 0, (), 0.0)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        root = Path(name)
        pair, keys, models = make_key(root / "line.key"), root / "keys", root / "models"
        keys.mkdir(mode=0o755)
        (keys / "line.pub").write_bytes(pair.public.read_bytes())
        policy = Policy(True, TrustStore(keys))
        path = root / "model.diffad"
        for version in range(1, arguments.rounds + 2):
            write_bundle(path, base.manifest.model_copy(update={"version": version}), members)
            timed("sign", lambda: sign_bundle(path, pair.private))
            bundle = timed("open (verify every byte)", lambda: open_bundle(path))
            timed("check (signature and version)", lambda bundle=bundle: policy.check(bundle))
            timed("install without self-test", lambda: install(models, path, policy=policy, test=lambda _: tested))
            found = timed("start (active)", lambda: active(models, policy=policy))
            watch = Watch(found)
            watch.wanted()
            timed("look for a change", lambda watch=watch: [watch.wanted() for _ in range(1000)], 1000)
            timed("commit", lambda: commit(models))
            timed("status", lambda: status(models))
        timed("self-test (ONNX Runtime)", lambda: self_test(base, "onnxruntime"))
        timed("rollback", lambda: rollback(models))
    line = {
        "bundle_bytes": base.size_bytes,
        "input_size": base.manifest.input_size,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "rounds": arguments.rounds,
        "ms": {
            name: {
                "cpu": round(float(np.median(work[name])), 4),
                "min": round(min(one), 4),
                "p50": round(float(np.median(one)), 4),
                "max": round(max(one), 4),
            }
            for name, one in times.items()
        },
    }
    if not arguments.json:
        for step, one in line["ms"].items():  # type: ignore[attr-defined]
            print(f"{step:32}" + "".join(f"  {name} {value:10.3f}" for name, value in one.items()) + "  ms")
    print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
