"""``tailwise show``"""

from __future__ import annotations

from collections.abc import Sequence

from tailwise.commands.options import RecipeOptions, leading_names, parse, recipe_or_default
from tailwise.core.spec import to_yaml

DESCRIPTION = "Print a complete recipe as YAML: tailwise show [RECIPE] [options]. `tailwise train FILE.yaml` takes it."


def run(arguments: Sequence[str]) -> int:
    """Prints the recipe with every option applied."""
    names, rest = leading_names(arguments)
    recipe = recipe_or_default(names, None, resume=False)
    options = parse(RecipeOptions, recipe, rest, "tailwise show [RECIPE]", DESCRIPTION)
    print(f"# tailwise recipe {options.spec.hash} (before the data are read)\n{to_yaml(options.spec)}", end="")
    return 0
