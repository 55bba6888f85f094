"""The text of one clip while it is found, token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.runtime.timestamp_rules import TimestampRules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastwhisper_compress.runtime.manifest import Decoding
    from fastwhisper_compress.runtime.options import Options

_LOOP_TOKENS = 24  # a repetition this long is a loop,
_LOOP_ROUNDS = 6  # if it goes round this often: a refrain or a stutter does not
_LONGEST_ROUND = 16  # tokens


def repeated(tokens: Sequence[int]) -> int:
    """Return how many tokens at the end repeat the round before them, if they are a loop; 0 if not."""
    for period in range(1, _LONGEST_ROUND + 1):
        rounds = max(_LOOP_ROUNDS, -(-_LOOP_TOKENS // period))
        surplus = period * (rounds - 1)
        if len(tokens) >= period + surplus and tokens[-surplus:] == tokens[-surplus - period : -period]:
            return surplus
    return 0


@dataclass(frozen=True)
class Hypothesis:
    """What decoding found for one clip.

    Attributes:
        tokens: Of text and timestamps, a given prefix included, without prompt and end of text.
        looped: Whether it was stopped because it repeated itself without end; what came after is missing.
        ended: Whether the model ended the text itself, rather than a loop or the model's length.
        logprobs: Natural logarithm of the probability of each of the tokens; 0 of those that were given.
        mean_logprob: Their mean without those that were given, with that of the end of text.
        language: The code that was given, or found.
        no_speech_prob: Probability that nobody speaks, if it was asked for.
    """

    tokens: tuple[int, ...]
    looped: bool
    ended: bool
    logprobs: tuple[float, ...]
    mean_logprob: float
    language: str
    no_speech_prob: float | None


class Text:
    """The text of one clip while it is found.

    Attributes:
        hypothesis: What was found, once it is at its end.
        last: The token to go on from.
    """

    def __init__(
        self, decoding: Decoding, options: Options, room: int, *, language: str, no_speech_prob: float | None
    ) -> None:
        """Begin with the prefix.

        Args:
            decoding: The model's ids.
            options: What was asked for.
            room: How many tokens it may have.
            language: The clip's.
            no_speech_prob: What was read before.
        """
        self.hypothesis: Hypothesis | None = None
        self.last = decoding.eot  # what an ended clip is fed while it waits for the others
        self._decoding, self._room = decoding, room
        self._stop_loops, self._temperature = options.stop_loops, options.temperature
        self._language, self._no_speech_prob = language, no_speech_prob
        self._random = np.random.default_rng(options.seed) if options.temperature else None
        self._rules = TimestampRules(decoding) if options.timestamps else None
        self._tokens = list(options.prefix)
        # Times go on while the text goes round: a loop shows in the text alone.
        self._spoken = [token for token in self._tokens if self._is_text(token)] if options.timestamps else self._tokens
        self._given, self._settled = len(options.prefix), len(self._spoken)
        self._logprobs = [0.0] * self._given

    def take(self, scores: np.ndarray) -> None:
        """Go on by one token, the likeliest or a drawn one, of logits float32 (n_vocab,), which are changed."""
        if self._rules:
            self._rules.apply(scores, self._tokens)
        top = int(scores.argmax())
        token = top if self._random is None else self._drawn(scores - scores[top])
        self._logprobs.append(float(scores[token] - scores[top] - np.log(np.exp(scores - scores[top]).sum())))
        if token == self._decoding.eot:
            self._finish(self._tokens, ended=True)
            return
        self.last = token
        self._tokens.append(token)
        if self._rules and self._is_text(token):
            self._spoken.append(token)
        # What was given is settled, however often it says the same: it neither counts nor can be cut.
        if self._stop_loops and (surplus := repeated(self._spoken[self._settled :])):
            self._finish(self._first(len(self._spoken) - surplus), looped=True)
        elif len(self._tokens) >= self._room:
            self._finish(self._tokens)

    def finished(self) -> Hypothesis:
        """Return what was found."""
        if self.hypothesis is None:
            raise RuntimeError("the text has not ended")
        return self.hypothesis

    def _is_text(self, token: int) -> bool:
        return token < self._decoding.timestamp_begin

    def _drawn(self, scores: np.ndarray) -> int:
        """Draw a token of logits whose largest is 0, as it is at most as likely as the temperature lets."""
        if self._random is None:
            raise RuntimeError("nothing is drawn at temperature 0")
        sums = np.exp(scores / self._temperature).cumsum(dtype=np.float64)
        return int(sums.searchsorted(self._random.random() * sums[-1], side="right"))

    def _first(self, spoken: int) -> list[int]:
        """Return the tokens up to so many of text, and the time at which these end."""
        if self._rules is None:
            return self._tokens[:spoken]
        places = [place for place, token in enumerate(self._tokens) if self._is_text(token)]
        end = places[spoken - 1] + 1
        return self._tokens[: end + (not self._is_text(self._tokens[end]))]

    def _finish(self, tokens: list[int], *, ended: bool = False, looped: bool = False) -> None:
        self.last = self._decoding.eot
        mean = sum(self._logprobs) / (len(self._logprobs) - self._given)
        logprobs = tuple(self._logprobs[: len(tokens)])
        self.hypothesis = Hypothesis(tuple(tokens), looped, ended, logprobs, mean, self._language, self._no_speech_prob)
