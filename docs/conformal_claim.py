"""Whether good parts are rejected no more often than a bundle's image threshold promises:

    python docs/conformal_claim.py model.diffad --run runs/parts --data data/parts [--splits 20] [--variant int8]

Scores come from the bundle's own engine, on good images that the network was not trained on: those that the run held
back, and test/good. In each random split of them one half sets the threshold for a false reject rate, and the other
half counts rejects. Under random splits exchangeability holds by construction: this tests ranks, bounds and code.
Whether later parts are like earlier ones is another question; the last two rows ask it, with the threshold set on the
images held back and rejects counted on test/good. The images held back also chose the score's mean and deviation.

Columns: n images set the threshold, the k-th smallest score of them; bound on the mean, (n + 1 - k) / (n + 1); mean
observed rate over the splits, and the standard deviation that theory gives it; the worst; the bound that one set of n
images keeps with 95 % confidence, and how many splits lie above it (their rate is counted on m images, which blurs
it); the 99.9 % quantile of what one split may count of m, and how many lie above that. The last line is JSON.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from diffad_calibration.dataset import open_datasets
from diffad_calibration.loading import load_images
from diffad_calibration.thresholds.conformal import conditional_bound, image_rank, marginal_bound
from diffad_calibration.thresholds.normalscores import normal_scores
from diffad_calibration.thresholds.setting import image_threshold
from diffad_export.runfolder import open_run
from diffad_runtime.bundle import Bundle, open_bundle
from diffad_runtime.drift import drift
from diffad_runtime.engines.select import open_engine
from diffad_runtime.result import Image
from diffad_runtime.scoring import image_score

RATES = (0.1, 0.05, 0.01, 0.001)


def rejects_quantile(n: int, k: int, m: int, level: float = 0.999) -> int:
    """Quantile of the rejects among m new scores above the k-th smallest of n: negative hypergeometric, no ties."""
    total = 0
    for count in range(m + 1):
        total += math.comb(n - k + count, count) * math.comb(k - 1 + m - count, m - count)
        if total >= level * math.comb(n + m, m):
            return count
    return m


def mean_deviation(n: int, k: int, m: int, splits: int) -> float:
    """Standard deviation of the mean observed rate: beta-binomial with a = n + 1 - k, b = k, over the splits."""
    a, b = n + 1 - k, k
    variance = m * a * b * (n + 1 + m) / ((n + 1) ** 2 * (n + 2))
    return math.sqrt(variance / splits) / m


def row(calibration: list[np.ndarray], others: list[np.ndarray], rate: float) -> dict[str, Any]:
    """One line of the table, over splits of equal sizes."""
    n, m = len(calibration[0]), len(others[0])
    k = image_rank(n, rate)
    observed = [float((b > image_threshold(a, rate)[0]).mean()) for a, b in zip(calibration, others, strict=True)]
    confident, extreme = conditional_bound(n, k), rejects_quantile(n, k, m)
    return {
        "rate": rate, "n": n, "k": k, "m": m, "bound": marginal_bound(n, k), "mean": float(np.mean(observed)),
        "mean_deviation": mean_deviation(n, k, m, len(observed)),
        "worst": max(observed), "confident_bound": confident, "beyond_confident": sum(o > confident for o in observed),
        "quantile_999": extreme / m, "beyond_quantile_999": sum(round(o * m) > extreme for o in observed),
    }  # fmt: skip


def scores(bundle: Bundle, variant: str | None, images: Image) -> np.ndarray:
    """Image scores by the bundle's engine, float64 (N,)."""
    with open_engine(bundle, variant=variant) as engine:
        return np.array([image_score(engine.infer(one).anomaly, bundle.manifest.image_score) for one in images])


def main() -> None:
    """Print the table and its JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="run folder that the bundle was exported from")
    parser.add_argument("--data", type=Path, required=True, help="the category that it was made for")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--variant", default=None)
    args = parser.parse_args()
    bundle, run = open_bundle(args.bundle), open_run(args.run)
    (dataset,) = open_datasets(args.data)
    files = [sample.image for sample in dataset.test if sample.label == 0]
    held = scores(bundle, args.variant, run.split(dataset).held)
    test = scores(bundle, args.variant, load_images(files, bundle.manifest.input_size).array)
    pool, rng = np.concatenate([held, test]), np.random.default_rng(0)
    orders = [rng.permutation(len(pool)) for _ in range(args.splits)]
    half = len(pool) // 2
    rows = [row([pool[o[:half]] for o in orders], [pool[o[half:]] for o in orders], rate) for rate in RATES]
    rows += [row([held], [test], rate) for rate in (0.1, 0.05)]
    print(f"{dataset.name}: {len(held)} good images held back, {len(test)} of test/good; {args.splits} splits")
    print("  rate    n    k    m   bound    mean    +-     worst  95% conf  beyond   99.9%  beyond")
    for one in rows:
        print(
            f"{one['rate']:6.1%} {one['n']:4d} {one['k']:4d} {one['m']:4d} {one['bound']:7.2%} {one['mean']:7.2%} "
            f"{one['mean_deviation']:6.2%} {one['worst']:7.2%} {one['confident_bound']:9.2%} "
            f"{one['beyond_confident']:7d} {one['quantile_999']:7.2%} {one['beyond_quantile_999']:7d}"
        )
    found = drift(normal_scores(held), test)
    print(f"drift from held back to test/good: p = {found.p_value:.3g}, shift {found.shift:+.2f} robust deviations")
    facts = {"p_value": found.p_value, "shift": found.shift}
    print(json.dumps({"category": dataset.name, "splits": args.splits, "rows": rows, "drift": facts}))


if __name__ == "__main__":
    main()
