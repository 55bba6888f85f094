"""The parts of ``scripts/kernels.py``: the layers that are measured, their times, their memory, and session settings."""
