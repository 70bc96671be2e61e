"""What is looked at on a product: two regions with thresholds of their own, and a corner that does not count.

    python examples/10_recipe_and_roi.py MODEL.diffad IMAGE

Writes recipes/plate.toml where there is none, judges IMAGE by it, and says which region decided. Change the file, and
run it again; a running `diffad-edge run --recipe recipes` takes an edit in between two frames. See docs/recipes.md.
"""

import sys
from pathlib import Path

from diffad_edge import Inspector
from diffad_runtime.imagefile import read_image

# Relative coordinates: 0 is left or top, 1 right or bottom, whatever the camera's resolution.
RECIPE = """\
version = 1
name = "plate"
index = 1
unit = "relative"

[[regions]]
name = "left"
polygons = [[[0, 0], [0.4, 0], [0.4, 1], [0, 1]]]

[[regions]]
name = "right"
polygons = [[[0.4, 0], [1, 0], [1, 1], [0.4, 1]]]
min_defect_area = 4

[[ignore]]
polygons = [[[0.9, 0.9], [1, 0.9], [1, 1], [0.9, 1]]]
"""


def main(model: str, image: str) -> None:
    file = Path("recipes") / "plate.toml"
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        file.write_text(RECIPE, encoding="utf-8")
    with Inspector.open(model, recipes=file.parent) as inspector:
        result = inspector.inspect(read_image(Path(image)), recipe="plate")
    print(f"{result.verdict.value}  by the recipe {result.recipe!r}")
    for region in result.regions:
        print(
            f"  {region.region:8s} {region.verdict.value:5s} score {region.score:.3f}, threshold {region.threshold:.3f}"
        )
    for defect in result.defects:
        print(f"  defect in {defect.region}: box {defect.box}, {defect.area_px} px, peak {defect.peak:.2f}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
