"""Add word times to transcripts: one more pass of the decoder, over the text that it has found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.runtime.audio import SAMPLE_RATE
from fastwhisper_compress.runtime.decode import KEY
from fastwhisper_compress.runtime.prompt import prompt_tokens
from fastwhisper_compress.runtime.transcript import Segment, Transcript
from fastwhisper_compress.runtime.word_pieces import split_words, written_language
from fastwhisper_compress.runtime.words import POSITION_S, align, listening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnxruntime as ort

    from fastwhisper_compress.runtime.hypothesis import Hypothesis
    from fastwhisper_compress.runtime.manifest import Decoding
    from fastwhisper_compress.runtime.resident import Decodes
    from fastwhisper_compress.runtime.tokens import Vocabulary

_POSITION = round(POSITION_S * SAMPLE_RATE)  # samples


class WordTimes:
    """A model that can tell when it heard what it has written."""

    def __init__(self, decoder: Decodes, decoding: Decoding, vocabulary: Vocabulary) -> None:
        self._decoder = decoder
        self._decoding = decoding
        self._vocabulary = vocabulary

    def add(
        self,
        transcripts: Sequence[Transcript],
        found: Sequence[Hypothesis],
        cross: Mapping[str, ort.OrtValue],
        lengths: Sequence[int],
        task: str,
    ) -> list[Transcript]:
        """Return transcripts of clips with their words.

        As in openai-whisper, the model reads the text alone, as if nobody had asked for timestamps, and its end.

        Args:
            transcripts: Of each clip.
            found: What they were made of.
            cross: The clips' keys and values, (batch, heads, audio length, head_dim) each.
            lengths: Samples of each clip: what lies behind is no place for a word.
            task: What was asked for.
        """
        ids = self._decoding
        prompts = [prompt_tokens(ids, one.language, task) for one in found]
        texts = [
            [token for token in one.tokens if token < ids.timestamp_begin][: ids.max_length - len(prompt)]
            for one, prompt in zip(found, prompts, strict=True)
        ]
        read = [
            (*prompt, *text, ids.eot)[: ids.max_length] if text else ()  # the end itself is not timed
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        queries = self._decoder.queries(cross, read)
        keys = {layer: cross[f"{KEY}{layer}"].numpy() for layer, _ in ids.alignment_heads}
        timed = list(transcripts)
        for row, text in enumerate(texts):
            if not text:
                continue
            own = {layer: values[row] for layer, values in keys.items()}
            positions = max(1, min(next(iter(own.values())).shape[1], lengths[row] // _POSITION))
            heard = listening(queries[row], own, ids.alignment_heads, positions)
            at = len(prompts[row]) - 1  # the last token of the prompt listens for the first of the text
            timed[row] = self._timed(
                transcripts[row], found[row], text, heard[at : at + len(text) + 1], lengths[row] / SAMPLE_RATE, task
            )
        return timed

    def _timed(
        self,
        transcript: Transcript,
        found: Hypothesis,
        text: Sequence[int],
        heard: np.ndarray,
        length_s: float,
        task: str,
    ) -> Transcript:
        written = written_language(found.language, task)
        whole = Segment(0.0, length_s, self._vocabulary.decode(text), tuple(text))
        chosen = zip(found.tokens, found.logprobs, strict=True)
        probabilities = np.exp([logprob for token, logprob in chosen if token < self._decoding.timestamp_begin])
        pieces = split_words(text, self._vocabulary, written)
        segments = tuple(align(pieces, probabilities, heard, transcript.segments or (whole,), length_s))
        return replace(transcript, segments=segments, words=tuple(word for one in segments for word in one.words))
