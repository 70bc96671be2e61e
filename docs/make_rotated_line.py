"""Write the synthetic set of freely rotated plates that NOTES.md and the README give figures of.

    python docs/make_rotated_line.py sets/rotated

200 good plates to train on, 60 good and 80 defective ones to test on, 256 px, any pose, seed 7. The same pictures
everywhere: the line is a pure function of seed and number.
"""

import sys
from pathlib import Path

from diffad_runtime.synthetic import LineConfig, write_mvtec

ROTATED = LineConfig(size=256, seed=7, rotate=180)


def main(folder: Path) -> None:
    """Render the set into `folder`, which must not exist or be empty."""
    write_mvtec(folder, ROTATED, train_good=200, test_good=60, test_per_kind=20)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
