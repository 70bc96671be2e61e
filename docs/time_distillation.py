"""How much faster the diffusion part of a bundle is than what it stands for:

    OMP_WAIT_POLICY=PASSIVE python docs/time_distillation.py model.diffad --teacher runs/parts [--rounds 60]

The student's part is the reconstructor graph with its score, INT8 where the bundle has it, as `bench` times it. Beside
it, in turn, the run's own teacher with its score in torch; then, once each, the three evaluations of the paper's
network (552.8 M parameters) in float32 at 256 px, with random weights; they need 3 GB of memory and a minute. The
waiting policy keeps torch's idle threads off the cores that others are timed on.
"""

import argparse
from pathlib import Path

from diffad_export.paper_timing import paper_seconds
from diffad_export.teacher_contestant import teacher_timing
from diffad_runtime.bench import bench
from diffad_runtime.bundle import open_bundle


def main() -> None:
    """Print one line a contestant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--teacher", type=Path, required=True, help="run folder that the bundle was exported from")
    parser.add_argument("--rounds", type=int, default=60)
    args = parser.parse_args()
    bundle = open_bundle(args.bundle)
    report = bench(bundle, frames=args.rounds, frame_size=None, extra=teacher_timing(args.teacher, bundle))
    medians = {name: timing.stages["reconstruct"]["p50"] for name, timing in report.timings.items()}
    student = medians[report.default]
    for name, milliseconds in medians.items():
        print(f"{name:28s} {milliseconds:10.2f} ms {milliseconds / student:9.1f} x")
    seconds = paper_seconds()
    total = 1e3 * sum(seconds)
    print(f"{'paper, 3 calls, torch':28s} {total:10.0f} ms {total / student:9.0f} x")
    print("the paper's calls, seconds:", ", ".join(f"{one:.1f}" for one in seconds))


if __name__ == "__main__":
    main()
