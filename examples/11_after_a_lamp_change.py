"""The lamp was changed and good parts are rejected: thresholds anew, from good parts under the new light.

    python examples/11_after_a_lamp_change.py MODEL.diffad GOOD NEW.diffad

GOOD is a folder of pictures of good parts, a hundred or more, under the new light. The network stays as it is; only
the thresholds move. Where most of these parts look nothing like what was trained, this refuses: then train again.
The command for it is `diffad-edge recalibrate`; this shows what it does, and how much it changed.
"""

import sys
from pathlib import Path

from diffad_calibration.thresholds.recalibrate import RecalibrateOptions, recalibrate
from diffad_edge import DiffadError, Inspector


def rejected(model: str, folder: str) -> tuple[int, int]:
    """(rejected, all) of the parts in a folder."""
    with Inspector.open(model) as inspector:
        rejects = [result.verdict.value != "OK" for result in inspector.stream(f"dir://{folder}")]
    return sum(rejects), len(rejects)


def main(model: str, good: str, new: str) -> None:
    print("before: {} of {} good parts rejected".format(*rejected(model, good)))
    try:
        recalibrate(Path(model), good, Path(new), RecalibrateOptions(force=True))
    except DiffadError as error:
        sys.exit(f"refused: {error}")
    print("after:  {} of {}".format(*rejected(new, good)))
    with Inspector.open(model) as old, Inspector.open(new) as made:
        print(f"threshold {old.rules.image_threshold:.3f} -> {made.rules.image_threshold:.3f}")
        if old.manifest and made.manifest:
            print(
                f"version {old.manifest.version} -> {made.manifest.version}; sign it again where devices ask for that"
            )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
