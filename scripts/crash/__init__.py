"""Killing runs, and failing their disk, at every point; used by ``crash_loop.py`` and the tests."""
