"""What a recipe does to a checkpoint: weights change, precisions are assigned, fusions are allowed."""

from fastwhisper_compress.passes.apply import Applied, Compressed, apply, uncalibrated

__all__ = ["Applied", "Compressed", "apply", "uncalibrated"]
