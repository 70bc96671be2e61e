"""Hostile bundles, manifests, graphs, recipes, pictures and archives: what refuses them, and what they cost.

    python docs/fuzz_bundles.py
    python docs/fuzz_bundles.py --rounds 200000 --seed 7 --minutes 15 --real model.diffad --engines 2000
    python docs/fuzz_bundles.py --seed 7 --only 1234

Every input is made from the seed and its number (tests/fuzz/bundlefuzz) and is given to the entrance that a device
would give it to. It must be taken, or refused by an error of ours in one line. Watched: any other exception; files read
or written beside the input's own; resident memory; seconds; and for every 20th whether the answer is the same twice.

--engines: so many of the bundles that the reader takes are opened with onnxruntime and judge a frame, in a process of
their own, as native code may crash, hang or fill the memory. Audit hooks do not see files that native code opens.

The tables say which layer refused how many, and how many got as far as each layer: inputs that all die in the zip
records would prove nothing of what lies behind them. The last line is JSON. Ctrl-C ends it with what there is so far.
Exit code 1 where anything was found.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "fuzz"))

from bundlefuzz.campaign import BOUND_MB, BOUND_TIMES, LAYERS, Campaign, Tally  # noqa: E402  not installed
from bundlefuzz.enginechild import Ended, EngineChild  # noqa: E402
from bundlefuzz.kinds import KINDS  # noqa: E402

ENGINE_MB = 2600
"""Memory that onnxruntime may take for what the limits of a graph let through: 2 GiB at 256 px, and the rest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--real", type=Path, help="a bundle as exports make them, for every 200th input")
    parser.add_argument("--engines", type=int, default=0, help="accepted bundles that onnxruntime is given")
    parser.add_argument("--only", type=int, help="run this input alone and say what came of it")
    asked = parser.parse_args()
    for ends in (signal.SIGINT, signal.SIGTERM):  # in the background Ctrl-C comes ignored
        signal.signal(ends, signal.default_int_handler)
    until = time.monotonic() + 60 * asked.minutes
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(asked.seed, Path(folder), asked.real)
        if asked.only is not None:
            kind, size, seen = campaign.look(asked.only, python_memory=True)
            print(f"{kind.name}, {size} bytes: {seen}")
            return
        tally = campaign.run(asked.rounds, until=until, on_round=_progress)
        print(file=sys.stderr)
        engines = _engines(campaign, tally, asked.engines, until)
    print(_by_kind(tally))
    print(_by_layer(tally))
    for fault in tally.faults[:40]:
        print(f"FOUND {fault}")
    for ended, number in engines:
        if ended.how in {"crash", "hang", "traceback"}:
            print(f"ENGINE {ended.how} {number}: {ended.what}")
    report = _report(tally, engines, asked.seed)
    print(json.dumps(report))
    sys.exit(1 if tally.fault_count or report["engines"]["bad"] else 0)


def _engines(campaign: Campaign, tally: Tally, most: int, until: float) -> list[tuple[Ended, int]]:
    if most == 0:
        return []
    # Those whose graphs were changed tell the most; the others are opened as well.
    chosen = sorted(tally.accepted, key=lambda number: not campaign.data(number)[0].name.startswith("graph"))[:most]
    child, ended = EngineChild(campaign.good()), []
    try:
        for number in chosen:
            if time.monotonic() > until:
                break
            ended.append((child.run(campaign.data(number)[1]), number))
            if sys.stderr.isatty():
                print(f"\r{len(ended)} of {len(chosen)} engines", end="", file=sys.stderr)
    except KeyboardInterrupt:
        pass
    finally:
        child.close()
    return ended


def _by_kind(tally: Tally) -> str:
    rows = ["\n| input | made | refused by | accepted |", "|---|---|---|---|"]
    for kind in KINDS:
        found = tally.layers.get(kind.name, Counter())
        refused = ", ".join(f"{layer} {count}" for layer, count in found.most_common() if layer != "accepted")
        rows.append(f"| {kind.name} | {sum(found.values())} | {refused} | {found['accepted']} |")
    return "\n".join(rows)


def _by_layer(tally: Tally) -> str:
    rows = ["\n| layer of a bundle | got there | refused there |", "|---|---|---|"]
    left = of = max(1, tally.bundles)
    for name, refused in refusals(tally).items():
        rows.append(f"| {name} | {left} ({left / of:.1%}) | {refused if name != 'accepted' else ''} |")
        left -= refused
    return "\n".join(rows)


def refusals(tally: Tally) -> dict[str, int]:
    """Bundles by the layer that refused them, in the order in which layers are passed."""
    found: Counter[str] = Counter()
    for kind in KINDS:
        if kind.bundle:
            found.update(tally.layers.get(kind.name, {}))
    return {name: found[name] for name, _ in LAYERS}


def _report(tally: Tally, engines: list[tuple[Ended, int]], seed: int) -> dict[str, Any]:
    how = Counter(ended.how for ended, _ in engines)
    peaks = [ended.peak_mb for ended, _ in engines if ended.peak_mb == ended.peak_mb]
    return {
        "seed": seed,
        "inputs": tally.rounds,
        "bundles": tally.bundles,
        "seconds": round(tally.seconds, 1),
        "tracebacks": sum(layers["traceback"] for layers in tally.layers.values()),
        "found": dict(tally.fault_count),
        "peak_mb": round(tally.peak_mb[0], 1),
        "python_peak_mb": round(tally.python_mb[0], 1),
        "bound": f"{BOUND_TIMES:g} x size + {BOUND_MB:g} MB",
        "slowest_s": round(tally.slowest_s[0], 2),
        "asked_twice": tally.repeated,
        "layers": refusals(tally),
        "engines": {
            **how,
            "peak_mb": round(max(peaks, default=0.0), 1),
            "slowest_s": round(max((ended.seconds for ended, _ in engines), default=0.0), 2),
            "bad": how["crash"] + how["hang"] + how["traceback"] + sum(peak > ENGINE_MB for peak in peaks),
        },
    }


def _progress(tally: Tally) -> None:
    if tally.rounds % 500 == 0 and sys.stderr.isatty():
        rate = tally.rounds / max(tally.seconds, 1e-9)
        print(
            f"\r{tally.rounds} inputs, {rate:.0f}/s, {sum(tally.fault_count.values())} found", end="", file=sys.stderr
        )


if __name__ == "__main__":
    main()
