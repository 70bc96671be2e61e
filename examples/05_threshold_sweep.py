"""What another image threshold would do: parts missed and good parts rejected, over a labelled test set.

    python examples/05_threshold_sweep.py MODEL.diffad DATA

DATA is a folder with test/good and test/<kind>. A threshold chosen here is tuned on these pictures: judge it on others.
Pass it on with Inspector.open(model, image_threshold=...).
"""

import sys
from pathlib import Path

import numpy as np

from diffad_edge import Inspector


def main(model: str, data: str) -> None:
    good, bad = list[float](), list[float]()
    with Inspector.open(model) as inspector:
        shipped = inspector.rules.image_threshold
        for result in inspector.stream(f"dir://{Path(data) / 'test'}"):
            # An ERROR has the score NaN; like on the line, it counts as rejected.
            score = np.inf if np.isnan(result.score) else result.score
            (good if Path(result.name).parts[0] == "good" else bad).append(score)
    if not good or not bad:
        sys.exit(f"{data}/test needs pictures in good/ and in a folder of defects")
    scores = np.array(good), np.array(bad)
    finite = np.concatenate(scores)[np.isfinite(np.concatenate(scores))]
    steps = np.linspace(finite.min(), finite.max(), 9) if finite.size else np.empty(0)
    print(f"{len(good)} good and {len(bad)} defective pictures\n\nthreshold  missed  good rejected")
    for threshold in np.sort(np.append(steps, shipped)):
        missed, rejected = (scores[1] <= threshold).mean(), (scores[0] > threshold).mean()
        note = "  <- shipped" if threshold == shipped else ""
        print(f"{threshold:9.3f} {missed:7.1%} {rejected:14.1%}{note}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
