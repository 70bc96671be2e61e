"""How often the watch over scores is wrong, and after how many parts it is right:

    python docs/drift_watch_figures.py [--bundles 40] [--parts 20000] [--normal 40 --normal 200 --normal 1000]

Scores of a skewed distribution (gamma, shape 4, standard deviation 2), the normal ones and those of the run; every
fifth part is defective and scores 8 more. For each "bundle" normal scores are drawn anew, and their 95 % quantile is
the threshold. Nothing changes: alarms, and bundles with one, over all parts; then the same with nothing cut off at the
threshold, so that defective parts are in the window, which shows why it is cut. Then a change is planted after 600
parts: parts from there to the first line said, median and largest of 20 bundles; "never" is none within 2,000. The
last line is JSON.

With --scores FILE.jsonl (results of `diffad-edge run` on a line that does not change) and --bundle, the real thing: the
number of lines said over those scores, in their order.
"""

import argparse
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffad_calibration.thresholds.normalscores import normal_scores
from diffad_runtime.bundle import open_bundle
from diffad_runtime.health.driftwatch import DriftWatch
from diffad_runtime.result import Verdict

DEVIATION = 2.0
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "up by 0.5 deviations": lambda x: x + 0.5 * DEVIATION,
    "up by 1": lambda x: x + DEVIATION,
    "up by 2": lambda x: x + 2 * DEVIATION,
    "down by 0.5": lambda x: x - 0.5 * DEVIATION,
    "spread doubled": lambda x: 4 + (x - 4) * 2,
    "spread halved": lambda x: 4 + (x - 4) / 2,
}


def parts(
    rng: np.random.Generator, number: int, change: Callable[[np.ndarray], np.ndarray] = lambda x: x
) -> np.ndarray:
    """Good parts after a change, and a fifth that is defective."""
    return np.where(rng.random(number) < 0.2, rng.gamma(4, 1, number) + 8, change(rng.gamma(4, 1, number)))


def bundle(rng: np.random.Generator, number: int, *, cut: bool = True) -> tuple[DriftWatch, float]:
    scores = np.sort(rng.gamma(4, 1, number))
    threshold = float(scores[min(number, math.ceil((number + 1) * 0.95)) - 1])
    return DriftWatch(normal_scores(scores), threshold if cut else math.inf), threshold


def alarms(watch: DriftWatch, threshold: float, scores: np.ndarray) -> tuple[int, int | None]:
    """(times that something began to be said, parts until the first)."""
    count, first, before = 0, None, bool(watch.faults())
    for number, score in enumerate(scores, start=1):
        watch.add(float(score), Verdict.OK if score <= threshold else Verdict.NG)
        now = bool(watch.faults())
        if now and not before:
            count, first = count + 1, first or number
        before = now
    return count, first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=int, default=40)
    parser.add_argument("--parts", type=int, default=20_000)
    parser.add_argument("--normal", type=int, action="append")
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--scores", type=Path)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.scores:
        manifest = open_bundle(options.bundle).manifest
        assert manifest.normal_scores is not None, "the bundle keeps no normal scores"
        records = [json.loads(line) for line in options.scores.read_text().splitlines()]
        scores = np.array([record["score"] for record in records if record["verdict"] != "ERROR"])
        threshold = manifest.thresholds.image
        count, first = alarms(DriftWatch(manifest.normal_scores, threshold), threshold, scores)
        print(
            json.dumps({"parts": len(scores), "alarms": count, "first": first, "ng": int((scores > threshold).sum())})
        )
        return
    found: dict[str, Any] = {}
    for number in options.normal or (40, 200, 1000):
        said = []
        for seed in range(options.bundles):
            rng = np.random.default_rng([number, seed])
            watch, threshold = bundle(rng, number)
            said.append(alarms(watch, threshold, parts(rng, options.parts))[0])
        uncut = []
        for seed in range(options.bundles):
            rng = np.random.default_rng([number, seed])
            watch, _ = bundle(rng, number, cut=False)
            uncut.append(alarms(watch, math.inf, parts(rng, 2_000))[0])
        facts: dict[str, Any] = {
            "alarms": sum(said),
            "bundles_with": sum(map(bool, said)),
            "parts": options.bundles * options.parts,
            "uncut_bundles_with": sum(map(bool, uncut)),
        }
        print(
            f"{number} normal scores: {facts['alarms']} alarms in {facts['parts']} parts, bundles with one "
            f"{facts['bundles_with']} of {options.bundles}; uncut, within 2000 parts, {facts['uncut_bundles_with']}"
        )
        for name, change in CHANGES.items():
            after: list[float] = []
            for seed in range(20):
                rng = np.random.default_rng([number, seed, 1])
                watch, threshold = bundle(rng, number)
                alarms(watch, threshold, parts(rng, 600))
                after.append(alarms(watch, threshold, parts(rng, 2_000, change))[1] or math.inf)
            middle, most = (str(int(x)) if math.isfinite(x) else "never" for x in (float(np.median(after)), max(after)))
            print(f"  {name:22} {middle:>6} {most:>6}")
            facts[name] = {"median": middle, "most": most}
        found[str(number)] = facts
    print(json.dumps(found))


if __name__ == "__main__":
    main()
