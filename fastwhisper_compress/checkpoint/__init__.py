"""Whisper checkpoints of every origin, opened safely and brought to one set of names."""
