"""Whether what a user wrote for a model is a path."""

from __future__ import annotations

from pathlib import Path


def existing_path(model: str) -> Path | None:
    """Return the path, if the text is one that exists."""
    try:
        path = Path(model).expanduser()
        return path if model and path.exists() else None
    except (OSError, RuntimeError, ValueError):  # a name no file can have, or a home folder that cannot be found
        return None
