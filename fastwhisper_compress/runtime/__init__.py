"""Run artifacts. Imports neither torch nor transformers: that is most of a process's memory."""

from fastwhisper_compress.runtime.transcriber import Transcriber, Transcript, load_artifact

__all__ = ["Transcriber", "Transcript", "load_artifact"]
