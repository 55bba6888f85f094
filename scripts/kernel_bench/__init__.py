"""The parts of ``scripts/bench_kernels.py``: the layers that are measured, their times, their memory, and session settings."""
