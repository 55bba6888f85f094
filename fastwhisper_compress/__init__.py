"""Compress Whisper checkpoints by recipe, and prove what it cost.

The doors are :mod:`fastwhisper_compress.runtime` (use an artifact), :mod:`fastwhisper_compress.recipe` (read a
recipe) and the command line, ``python -m fastwhisper_compress``. Importing this package imports nothing else.
"""

__version__ = "0.1.0"
