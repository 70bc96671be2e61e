"""What to look at on one product: regions, ignored places, thresholds, tiles, how the camera is mounted."""

from diffad_runtime.recipes.book import RecipeBook
from diffad_runtime.recipes.load import load_recipe, make_recipe
from diffad_runtime.recipes.recipe import Recipe, Region, Tiling

__all__ = ["Recipe", "RecipeBook", "Region", "Tiling", "load_recipe", "make_recipe"]
