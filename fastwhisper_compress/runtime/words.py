"""When each word was said, read from the cross attention of the heads that follow time.

The method and its constants are openai-whisper's (timing.py): what each token listens to, smoothed and averaged over
those heads, is warped onto time; then words that swallowed a pause are cut, and punctuation joins its neighbour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fastwhisper_compress.runtime.dtw import cheapest_path
from fastwhisper_compress.runtime.transcript import Segment, Word
from fastwhisper_compress.runtime.word_pieces import Piece

POSITION_S = 0.02  # of the audio, a position of the encoder's output
_SMOOTHED = 7  # positions that the median is taken of
_MOST_MEDIAN_S = 0.7
_OFF_S = 0.5  # how far a word may reach beyond what the timestamps say
_SENTENCE_ENDS = ".。!！?？"  # noqa: RUF001 - other scripts have them too
_OPENING = "\"'“¿([{-"
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001


@dataclass
class _Spoken:
    """A word while its times are settled."""

    text: str
    n_tokens: int
    start_s: float
    end_s: float
    probability: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def listening(
    queries: Mapping[int, np.ndarray],
    keys: Mapping[int, np.ndarray],
    heads: Sequence[tuple[int, int]],
    positions: int,
) -> np.ndarray:
    """Return how much more than other tokens each token listens to each position, averaged over heads.

    Args:
        queries: Of each layer, float (tokens, heads * head_dim).
        keys: Of each layer, float (heads, audio length, head_dim).
        heads: (layer, head) pairs that follow time.
        positions: How many positions hold audio; what lies behind is not listened to.

    Shapes: float32 (tokens, positions).
    """
    found = np.zeros((len(next(iter(queries.values()))), positions), np.float32)
    for layer, head in heads:
        key = keys[layer][head, :positions].astype(np.float32)
        width = key.shape[1]
        query = queries[layer][:, head * width : (head + 1) * width].astype(np.float32)
        scores = query @ key.T / np.float32(np.sqrt(width))
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        spread = shares.std(axis=0)
        shares -= shares.mean(axis=0)
        shares /= np.where(spread > 0, spread, 1)
        found += _smoothed(shares)
    return found / np.float32(len(heads))


def align(
    pieces: Sequence[Piece],
    probabilities: np.ndarray,
    heard: np.ndarray,
    segments: Sequence[Segment],
    length_s: float,
) -> list[Segment]:
    """Return the segments with their words. Their bounds become those of the words, where these do not run away.

    Args:
        pieces: The words that all segments' tokens make.
        probabilities: Of each token.
        heard: What each token and the end of text listen to, (tokens + 1, positions); see :func:`listening`.
        segments: The text, and roughly when each part of it was said.
        length_s: Of the clip; no word ends later.
    """
    rows, columns = cheapest_path(-heard)
    begins = np.minimum(columns[np.diff(rows, prepend=-1) > 0] * POSITION_S, length_s)
    ends = np.cumsum([piece.n_tokens for piece in pieces])
    spoken = []
    for piece, last in zip(pieces, ends, strict=True):
        first = last - piece.n_tokens
        probability = float(probabilities[first:last].mean())
        spoken.append(_Spoken(piece.text, piece.n_tokens, float(begins[first]), float(begins[last]), probability))
    durations = [one.duration_s for one in spoken if one.duration_s]
    median_s = min(_MOST_MEDIAN_S, float(np.median(durations))) if durations else 0.0
    _cut_at_sentences(spoken, 2 * median_s)
    return _in_segments(_with_punctuation(spoken), segments, median_s)


def _smoothed(rows: np.ndarray) -> np.ndarray:
    """Return the running median of each row, whose ends are mirrored; rows too short to mirror stay as they are."""
    beside = _SMOOTHED // 2
    if rows.shape[1] <= beside:
        return rows
    mirrored = np.pad(rows, ((0, 0), (beside, beside)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, _SMOOTHED, axis=1)
    found: np.ndarray = np.partition(windows, beside, axis=2)[..., beside]
    return found


def _cut_at_sentences(spoken: Sequence[_Spoken], longest_s: float) -> None:
    """Shorten what lasts long at the end of a sentence or the start of one: it holds the pause between them."""
    for before, one in pairwise(spoken):
        if one.duration_s > longest_s:
            if one.text in _SENTENCE_ENDS:
                one.end_s = one.start_s + longest_s
            elif before.text in _SENTENCE_ENDS:
                one.start_s = one.end_s - longest_s


def _with_punctuation(spoken: Sequence[_Spoken]) -> list[_Spoken]:
    """Join punctuation to the word behind or before it, whose times stay its own."""
    opened: list[_Spoken] = []
    for one in reversed(spoken):
        if opened and one.text.startswith(" ") and one.text.strip() in _OPENING:
            opened[-1].text = one.text + opened[-1].text
            opened[-1].n_tokens += one.n_tokens
        else:
            opened.append(one)
    closed: list[_Spoken] = []
    for one in reversed(opened):
        if closed and not closed[-1].text.endswith(" ") and one.text in _CLOSING:
            closed[-1].text += one.text
            closed[-1].n_tokens += one.n_tokens
        else:
            closed.append(one)
    return closed


def _in_segments(spoken: Sequence[_Spoken], segments: Sequence[Segment], median_s: float) -> list[Segment]:
    """Give each segment the words that begin in it."""
    rest = list(spoken)
    found = []
    taken = last = 0
    last_s = 0.0
    for segment in segments:
        last += len(segment.tokens)
        own = []
        while rest and taken < last:
            own.append(rest.pop(0))
            taken += own[-1].n_tokens
        settled = _settled(segment, own, median_s, last_s) if own else segment
        last_s = settled.end_s
        found.append(settled)
    return found


def _settled(segment: Segment, own: Sequence[_Spoken], median_s: float, before_s: float) -> Segment:
    """Return a segment with its words, shortened where they hold the pause before or behind it.

    Args:
        segment: As the timestamps have it.
        own: Its words.
        median_s: Duration of a usual word.
        before_s: When the last segment ended.
    """
    first, last, longest_s = own[0], own[-1], 2 * median_s
    second = own[1] if len(own) > 1 else None
    slow = first.duration_s > longest_s or (second is not None and second.end_s - first.start_s > 2 * longest_s)
    if first.end_s - before_s > 2 * longest_s and slow:
        if second is not None and second.duration_s > longest_s:
            first.end_s = second.start_s = max(second.end_s / 2, second.end_s - longest_s)
        first.start_s = max(0.0, first.end_s - longest_s)
    if first.start_s + _OFF_S < segment.start_s < first.end_s:
        first.start_s = max(first.start_s, min(first.end_s - median_s, segment.start_s))
    if last.start_s < segment.end_s < last.end_s - _OFF_S:
        last.end_s = min(last.end_s, max(last.start_s + median_s, segment.end_s))
    words = tuple(Word(one.text, one.start_s, one.end_s, one.probability) for one in own)
    return replace(segment, start_s=first.start_s, end_s=last.end_s, words=words)
