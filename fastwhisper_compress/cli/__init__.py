"""The command line. Every command reads arguments, calls one function of the package, and prints.

Exit codes: 0 success, 1 a bug, 2 bad recipe or usage, 3 gate or parity failed, 4 missing backend, 5 unsafe input refused,
6 resources, 130 interrupted.
"""

from fastwhisper_compress.cli import jobs, exporting, transcribing, planning, cache, about  # noqa: F401, I001 - registers commands, in the order of --help
from fastwhisper_compress.cli.app import main

__all__ = ["main"]
