"""From a recipe to a published artifact with its proof."""
