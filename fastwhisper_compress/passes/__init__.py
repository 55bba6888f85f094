"""What a recipe does to a checkpoint: weights change, precisions are assigned, fusions are allowed."""
