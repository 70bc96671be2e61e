"""The shortest way from a picture to a mask.

    python examples/01_first_mask.py MODEL.diffad IMAGE [MASK.png]

`diffad-edge demo` makes a model and pictures to begin with: demo-out/model.diffad, demo-out/line/test.
"""

import sys
from pathlib import Path

from diffad_edge import Inspector
from diffad_runtime.imagefile import read_image, write_mask


def main(model: str, image: str, mask: str = "mask.png") -> None:
    frame = read_image(Path(image))
    with Inspector.open(model) as inspector:
        result = inspector.inspect(frame)
    write_mask(Path(mask), result.mask)
    print(f"{result.verdict.value}  score {result.score:.3f}, threshold {result.image_threshold:.3f}")
    print(f"{(result.mask > 0).mean():.2%} of the picture is marked in {Path(mask).absolute()}")


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit(__doc__)
    main(*sys.argv[1:])
