"""Greedy decoding of one clip or several at once, over key/value caches that stay in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.runtime.memory import untouched_zeros
from fastwhisper_compress.runtime.phases import OnPhase, ignore_phase

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnxruntime as ort

    from fastwhisper_compress.runtime.manifest import Decoding


def prompt_tokens(decoding: Decoding, language: str | None, task: str) -> tuple[int, ...]:
    """Return the tokens that precede the text: start, language, task, no timestamps.

    Args:
        decoding: The model's ids.
        language: Code such as ``de``; None means English. An English-only model takes no other.
        task: ``transcribe`` or ``translate``.

    Raises:
        UsageError: The model does not know the language or the task.
    """
    code = language or "en"
    if task not in ("transcribe", "translate"):
        raise UsageError(f"unknown task {task!r}", place="--task", remedy="use transcribe or translate")
    if not decoding.languages:
        if code != "en" or task != "transcribe":
            raise UsageError(
                f"an English-only model cannot {task} {code!r}",
                place="--language",
                remedy="use a multilingual model, such as openai/whisper-base",
            )
        return (decoding.sot, decoding.no_timestamps)
    if code not in decoding.languages:
        known = ", ".join(sorted(decoding.languages))
        raise UsageError(f"the model does not know the language {code!r}", place="--language", remedy=f"one of {known}")
    wanted = decoding.transcribe if task == "transcribe" else decoding.translate
    if wanted is None:
        raise UsageError(f"the model has no token for the task {task!r}", place="--task", remedy="use transcribe")
    return (decoding.sot, decoding.languages[code], wanted, decoding.no_timestamps)


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
    """What greedy decoding found for one clip.

    Attributes:
        tokens: Text tokens, without prompt and end of text.
        looped: Whether it was stopped because it repeated itself without end; what came after is missing.
        ended: Whether the model ended the text itself, rather than a loop or the model's length.
        mean_logprob: Mean natural logarithm of the probability of each token, end of text included.
    """

    tokens: tuple[int, ...]
    looped: bool
    ended: bool
    mean_logprob: float


QUERY = "cross_query."  # and the layer: the outputs that only word times ask for


class Batch:
    """Some clips that are decoded together, with their caches.

    Past and present keys and values are the same buffers: ONNX Runtime appends to them in place. They are as long as
    the model's text can be, but memory that no token has reached is never touched. The encoder's keys and values are
    its own too: ``keep`` moves them about.
    """

    def __init__(
        self, session: ort.InferenceSession, cross: Mapping[str, ort.OrtValue], *, restorable: bool = False
    ) -> None:
        """Bind the buffers.

        Args:
            session: The decoder graph.
            cross: The encoder's keys and values that the decoder attends to, by input name: (batch, heads, audio
                length, head_dim).
            restorable: Whether they will be wanted back, so that ``keep`` must not overwrite any.
        """
        import onnxruntime as ort

        self._ort = ort
        self._session = session
        first = next(iter(cross.values()))
        self._device = first.device_name()
        self._past_length = np.zeros(1, np.int32)
        self._tokens = np.zeros((0, 0), np.int64)
        self._step: ort.IOBinding | None = None
        self._exchanged: list[tuple[int, int]] | None = [] if restorable else None
        caches = {}
        for node in session.get_inputs():
            if node.name.startswith("past_") and node.name != "past_length":
                dtype = np.float16 if node.type == "tensor(float16)" else np.float32
                caches[node.name] = self._on_device(untouched_zeros((first.shape()[0], *node.shape[1:]), dtype))
        self._take(cross, caches)
        self._whole = (cross, caches) if self._device == "cpu" else None  # a view does not keep what it looks at

    def feed(self, tokens: np.ndarray) -> np.ndarray:
        """Read tokens and return the logits behind the last one.

        Shapes: int64 (batch, n) -> float32 (batch, n_vocab), a view that the next call overwrites.
        """
        if self._step is not None and self._device == "cpu" and tokens.shape == self._tokens.shape:
            self._tokens[:] = tokens
        else:  # another shape, or a device: its binding copies what lies on the host when it is made
            self._tokens = np.array(tokens, np.int64)
            self._step = self._bind()
        self._session.run_with_iobinding(self._step)
        self._past_length[0] += tokens.shape[1]
        return self._logits

    def queries(self, tokens: np.ndarray) -> dict[int, np.ndarray]:
        """Read tokens and return what they ask of the audio.

        Shapes: int64 (batch, n) -> by layer, float (batch, n, heads * head_dim).
        """
        self._tokens = np.array(tokens, np.int64)
        binding = self._bind()
        names = [node.name for node in self._session.get_outputs() if node.name.startswith(QUERY)]
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        self._step = None
        self._past_length[0] += tokens.shape[1]
        found = binding.get_outputs()[-len(names) :]
        return {int(name.removeprefix(QUERY)): value.numpy() for name, value in zip(names, found, strict=True)}

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all other clips; these, in ascending order, move up.

        On a CPU they move within the buffers: a second set of buffers would be the peak of memory.
        """
        filled = int(self._past_length[0])
        moves = [(place, row) for place, row in enumerate(rows) if place != row]
        if self._exchanged is None:
            cross = {name: self._moved_up(value, rows, value.shape()[2]) for name, value in self._cross.items()}
        else:
            self._exchanged += moves
            cross = {name: self._on_device(_exchange(value, moves)[: len(rows)]) for name, value in self._cross.items()}
        caches = {name: self._moved_up(value, rows, filled) for name, value in self._caches.items()}
        self._take(cross, caches)

    def restore(self) -> None:
        """Bring all clips' keys and values from the encoder back to where they were."""
        if self._exchanged is None:
            raise RuntimeError("they were overwritten")
        if self._whole is not None:  # elsewhere only copies were moved
            for value in self._whole[0].values():
                _exchange(value, self._exchanged[::-1])

    def _moved_up(self, value: ort.OrtValue, rows: Sequence[int], length: int) -> ort.OrtValue:
        """Move the first ``length`` places of these rows of (batch, heads, places, head_dim) to the front."""
        values = value.numpy()  # a view on a CPU, elsewhere a copy
        for place, row in enumerate(rows):
            if place != row:
                values[place, :, :length] = values[row, :, :length]
        return self._on_device(values[: len(rows)])

    def _take(self, cross: Mapping[str, ort.OrtValue], caches: Mapping[str, ort.OrtValue]) -> None:
        """Go on with these buffers, all of one batch size."""
        self._cross, self._caches = cross, caches
        vocabulary = next(node.shape[-1] for node in self._session.get_outputs() if node.name == "logits")
        self._logits = np.zeros((next(iter(cross.values())).shape()[0], vocabulary), np.float32)
        self._step = None  # it was bound to others

    def _on_device(self, values: np.ndarray) -> ort.OrtValue:
        return self._ort.OrtValue.ortvalue_from_numpy(values, self._device)

    def _bind(self) -> ort.IOBinding:
        """Bind every input and output; on a CPU, what the arrays hold is read anew at each run."""
        value = self._ort.OrtValue.ortvalue_from_numpy
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("input_ids", value(self._tokens))
        binding.bind_ortvalue_input("past_length", value(self._past_length))
        for name, buffer in self._cross.items():
            binding.bind_ortvalue_input(name, buffer)
        for name, buffer in self._caches.items():
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace("past", "present"), buffer)
        binding.bind_ortvalue_output("logits", value(self._logits))
        return binding


def _exchange(value: ort.OrtValue, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Exchange pairs of rows, one after the other, and return all; on a CPU in place."""
    values: np.ndarray = value.numpy()
    for one, other in pairs:
        values[[one, other]] = values[[other, one]]
    return values


class Decoder:
    """The decoder graph and the rules by which it is asked."""

    def __init__(self, session: ort.InferenceSession, decoding: Decoding) -> None:
        self._session = session
        self._decoding = decoding
        self._suppress = np.array(decoding.suppress, dtype=np.int64)
        self._begin_suppress = np.array(decoding.begin_suppress, dtype=np.int64)

    def greedy(
        self,
        cross: Mapping[str, ort.OrtValue],
        prompt: Sequence[int],
        *,
        stop_loops: bool,
        on_phase: OnPhase = ignore_phase,
    ) -> list[Hypothesis]:
        """Take the most likely next token again and again, up to end of text or the model's length.

        The rules are those of transformers' ``generate``: suppressed tokens never, ``begin_suppress`` not first.
        Clips that have ended stay in the batch until half of it has: dropping them moves the others' keys and values.

        Args:
            cross: The encoder's keys and values, (batch, heads, audio length, head_dim) each; they are moved about.
            prompt: The tokens before the text, the same for all clips.
            stop_loops: Whether to stop, and keep one round, when the tokens only go round in a circle.
            on_phase: Told of ``prefill`` and ``decode``.

        Returns:
            One hypothesis a clip.
        """
        on_phase("prefill")
        batch = Batch(self._session, cross)
        n_clips = next(iter(cross.values())).shape()[0]
        texts = [_Text(len(prompt), self._decoding, stop_loops=stop_loops) for _ in range(n_clips)]
        rows = texts  # those in the batch, in its order
        scores = batch.feed(np.array([prompt] * n_clips, np.int64))
        scores[:, self._begin_suppress] = -np.inf
        on_phase("decode")
        while True:
            scores[:, self._suppress] = -np.inf
            for text, of_clip in zip(rows, scores, strict=True):
                if text.hypothesis is None:
                    text.take(of_clip)
            running = [row for row, text in enumerate(rows) if text.hypothesis is None]
            if not running:
                return [text.finished() for text in texts]
            if len(running) <= len(rows) // 2:
                batch.keep(running)
                rows = [rows[row] for row in running]
            scores = batch.feed(np.array([[text.last] for text in rows], np.int64))

    def forced(self, cross: Mapping[str, ort.OrtValue], prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """Return the logits of one clip behind the prompt and behind each given token.

        Shapes: float32 (1 + len(tokens), n_vocab).
        """
        batch = Batch(self._session, cross)
        rows = [batch.feed(np.array([prompt], np.int64)).copy()]
        rows += [batch.feed(np.array([[token]], np.int64)).copy() for token in tokens]
        return np.concatenate(rows)

    def queries(
        self, cross: Mapping[str, ort.OrtValue], sequences: Sequence[Sequence[int]]
    ) -> list[dict[int, np.ndarray]]:
        """Return what the tokens of each clip, prompt included, ask of its audio; nothing of a clip without tokens.

        On a CPU the clips are read one by one: it takes as long, and less memory.

        Shapes: by layer, float (tokens, heads * head_dim).
        """
        if not any(sequences):
            return [{} for _ in sequences]
        if next(iter(cross.values())).device_name() == "cpu":
            return [self._asked(cross, row, one) if one else {} for row, one in enumerate(sequences)]
        longest = max(map(len, sequences))
        padded = [[*one, *[self._decoding.eot] * (longest - len(one))] for one in sequences]
        found = Batch(self._session, cross).queries(np.array(padded, np.int64))
        return [
            {layer: values[row, : len(one)] for layer, values in found.items()} for row, one in enumerate(sequences)
        ]

    def _asked(self, cross: Mapping[str, ort.OrtValue], row: int, tokens: Sequence[int]) -> dict[int, np.ndarray]:
        import onnxruntime as ort

        rows = {name: value.numpy()[row : row + 1] for name, value in cross.items()}
        own = {name: ort.OrtValue.ortvalue_from_numpy(values) for name, values in rows.items()}
        found = Batch(self._session, own).queries(np.array([tokens], np.int64))
        return {layer: values[0] for layer, values in found.items()}


class _Text:
    """The text of one clip while it is found."""

    def __init__(self, n_prompt: int, decoding: Decoding, *, stop_loops: bool) -> None:
        self.hypothesis: Hypothesis | None = None
        self.last = decoding.eot  # what an ended clip is fed while it waits for the others
        self._room = decoding.max_length - n_prompt
        self._eot = decoding.eot
        self._stop_loops = stop_loops
        self._tokens: list[int] = []
        self._logprob = 0.0

    def take(self, scores: np.ndarray) -> None:
        """Go on by the likeliest token of float32 (n_vocab,)."""
        token = int(scores.argmax())
        self._logprob -= float(np.log(np.exp(scores - scores[token]).sum()))
        if token == self._eot:
            self._finish(self._tokens, ended=True)
            return
        self.last = token
        self._tokens.append(token)
        if self._stop_loops and (surplus := repeated(self._tokens)):
            self._finish(self._tokens[:-surplus], looped=True)
        elif len(self._tokens) >= self._room:
            self._finish(self._tokens)

    def finished(self) -> Hypothesis:
        """Return what was found."""
        if self.hypothesis is None:
            raise RuntimeError("the text has not ended")
        return self.hypothesis

    def _finish(self, tokens: list[int], *, ended: bool = False, looped: bool = False) -> None:
        self.last = self._eot
        scored = len(self._tokens) + ended
        self.hypothesis = Hypothesis(tuple(tokens), looped, ended, self._logprob / scored)
