"""``tailwise show``"""

from __future__ import annotations

from collections.abc import Sequence

from tailwise.commands.options import RecipeOptions, leading_names, parse, recipe_or_default
from tailwise.core.errors import TailwiseError
from tailwise.core.spec import to_yaml
from tailwise.engine.recipe import Recipe

DESCRIPTION = (
    "Print a complete recipe as YAML, and what its network costs at test time: tailwise show [RECIPE] [options]. "
    "`tailwise train FILE.yaml` takes it."
)


def run(arguments: Sequence[str]) -> int:
    """Prints the recipe with every option applied, and the parameters and multiply-accumulates of its network."""
    names, rest = leading_names(arguments)
    recipe = recipe_or_default(names, None, resume=False)
    options = parse(RecipeOptions, recipe, rest, "tailwise show [RECIPE]", DESCRIPTION)
    print(f"# tailwise recipe {options.spec.hash} (before the data are read)")
    print(f"# {_cost(options.spec)}")
    print(to_yaml(options.spec), end="")
    return 0


def _cost(recipe: Recipe) -> str:
    """What the network costs, or why that is not known; comments of a file that `tailwise train` takes."""
    # Building a network needs the engine, which a wrong option should not wait for.
    from tailwise.engine.cost import classes_of, recipe_cost

    try:
        classes = classes_of(recipe.data)
        size = recipe.data.image_size
        return f"at test time, one image of {size} x {size} pixels, {classes} classes: {recipe_cost(recipe, classes)}"
    except TailwiseError as error:
        return f"cost at test time not known: {str(error).splitlines()[0]}"
