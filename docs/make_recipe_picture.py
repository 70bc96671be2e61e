"""The picture of docs/recipes.md: a recipe drawn over a part of the synthetic line.

python docs/make_recipe_picture.py docs/recipes/flange.toml docs/images/recipe.png
"""

import sys

from diffad_runtime.imagefile import write_png
from diffad_runtime.manifest import ImageScore
from diffad_runtime.recipes import load_recipe
from diffad_runtime.regions.drawing import draw_recipe
from diffad_runtime.regions.plan import Plan
from diffad_runtime.rules import DecisionRules
from diffad_runtime.synthetic import LineConfig, SyntheticLine

# Thresholds change nothing in the picture, and neither does the network's input size.
RULES = DecisionRules(pixel_threshold=1.0, image_threshold=1.0, image_score=ImageScore(pixels=1))


def main(recipe_path: str, picture_path: str) -> None:
    """Write the picture."""
    recipe = load_recipe(recipe_path)
    image = SyntheticLine(LineConfig(size=640, seed=5)).frame(3, "scratch").image
    plan = Plan.of(recipe, RULES, 256, image.shape)
    write_png(picture_path, draw_recipe(image, recipe, plan))
    print(f"{len(plan.looks)} inferences: {', '.join(str(tuple(look.box)) for look in plan.looks)}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
