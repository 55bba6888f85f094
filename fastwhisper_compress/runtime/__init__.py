"""Run artifacts. Imports neither torch nor transformers: that is most of a process's memory."""

from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.runtime.transcriber import Transcriber, load_artifact
from fastwhisper_compress.runtime.transcript import Segment, Transcript, Word

__all__ = ["Options", "Segment", "Transcriber", "Transcript", "Word", "load_artifact"]
