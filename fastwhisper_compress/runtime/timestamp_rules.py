"""Which tokens may follow when the model is to write timestamps.

The rules are those of openai-whisper (decoding.py, ``ApplyTimestampRules``): a text begins with a timestamp, at most 1 s
into the clip; timestamps come in pairs, the end of a segment and the start of the next, except at the end of the text;
none lies before an earlier one, and no segment is without length; and where all timestamps together are likelier than any
other token, one of them is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastwhisper_compress.runtime.manifest import Decoding

TIMESTAMP_S = 0.02  # from one timestamp to the next
_LATEST_START = round(1.0 / TIMESTAMP_S)


class TimestampRules:
    """The rules for one model."""

    def __init__(self, decoding: Decoding) -> None:
        self._begin = decoding.timestamp_begin
        self._eot = decoding.eot
        self._no_timestamps = decoding.no_timestamps

    def apply(self, scores: np.ndarray, tokens: Sequence[int]) -> None:
        """Rule out the tokens that may not follow.

        Args:
            scores: Logits of one clip, float32 (n_vocab,); changed in place.
            tokens: What was found so far, without prompt.
        """
        begin = self._begin
        if not tokens:
            scores[:begin] = -np.inf
            scores[begin + _LATEST_START + 1 :] = -np.inf
            return
        follows = tokens[-1] >= begin
        if follows and (len(tokens) == 1 or tokens[-2] >= begin):
            scores[begin:] = -np.inf  # a segment has just begun: text is due
            scores[self._no_timestamps] = -np.inf
            return
        if follows:  # a segment has just ended: another may begin, at once or later, or the text is at its end
            scores[: self._eot] = -np.inf
        latest = next((token for token in reversed(tokens) if token >= begin), None)
        if latest is not None:
            scores[begin : latest if follows else latest + 1] = -np.inf
        scores[self._no_timestamps] = -np.inf
        of_times = scores[begin:]
        top = of_times.max(initial=-np.inf)
        if top > -np.inf and top + np.log(np.exp(of_times - top).sum()) > scores[:begin].max():
            scores[:begin] = -np.inf
