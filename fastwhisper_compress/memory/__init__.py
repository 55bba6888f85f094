"""How much memory a model needs, and what has that much: told before anything is loaded."""
