"""The peers of ``scripts/bench.py``: how each is installed, what it reads, and how it is run.

``runners`` and ``converters`` are started by a peer's own interpreter, where this project is not installed: they import
nothing of it. ``locks`` holds the exact versions of each environment.
"""
