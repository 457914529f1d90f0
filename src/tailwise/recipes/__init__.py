"""Named recipes: functions from a benchmark's base settings to a complete recipe."""

from tailwise.recipes.base import base_recipe, make_recipe, recipe_names

__all__ = ["base_recipe", "make_recipe", "recipe_names"]
