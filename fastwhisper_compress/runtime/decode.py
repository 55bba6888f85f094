"""Greedy decoding over one key/value cache that stays in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class Decoder:
    """One decoder session with its buffers, for one clip at a time.

    Past and present keys and values are the same buffers: ONNX Runtime appends to them in place.
    """

    def __init__(self, session: ort.InferenceSession, decoding: Decoding, cross: dict[str, ort.OrtValue]) -> None:
        """Bind the buffers.

        Args:
            session: The decoder graph.
            decoding: The model's ids.
            cross: The encoder's outputs that the decoder attends to, by input name.
        """
        import onnxruntime as ort

        self._session = session
        self._decoding = decoding
        self._suppress = np.array(decoding.suppress, dtype=np.int64)
        self._begin_suppress = np.array(decoding.begin_suppress, dtype=np.int64)
        self._past_length = np.zeros(1, np.int32)
        self._token = np.zeros((1, 1), np.int64)
        self._logits = np.zeros((1, session.get_outputs()[-1].shape[-1]), np.float32)
        self._ort = ort
        self._caches: list[tuple[str, ort.OrtValue]] = []
        self._device = device = next(iter(cross.values())).device_name()
        for node in session.get_inputs():
            if node.name.startswith("past_") and node.name != "past_length":
                dtype = np.float16 if node.type == "tensor(float16)" else np.float32
                shape = [1, *node.shape[1:]]
                value = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, device)
                value.update_inplace(np.zeros(shape, dtype))
                self._caches.append((node.name, value))
        self._cross = cross
        self._scores: np.ndarray = self._logits[0]
        self._step = self._bind(self._token)

    def _bind(self, tokens: np.ndarray) -> ort.IOBinding:
        """Bind every input and output; ``tokens`` int64 (1, n) is read anew at each run."""
        value = self._ort.OrtValue.ortvalue_from_numpy
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("input_ids", value(tokens))
        binding.bind_ortvalue_input("past_length", value(self._past_length))
        for name, buffer in self._cross.items():
            binding.bind_ortvalue_input(name, buffer)
        for name, buffer in self._caches:
            binding.bind_ortvalue_input(name, buffer)
            binding.bind_ortvalue_output(name.replace("past", "present"), buffer)
        binding.bind_ortvalue_output("logits", value(self._logits))
        return binding

    def start(self, prompt: Sequence[int]) -> np.ndarray:
        """Forget the text so far, read a prompt and return the logits behind it.

        Shapes: float32 (n_vocab,), a view that the next call overwrites.
        """
        self._past_length[0] = 0
        self._session.run_with_iobinding(self._bind(np.array([prompt], dtype=np.int64)))
        self._past_length[0] = len(prompt)
        return self._scores

    def step(self, token: int) -> np.ndarray:
        """Read one more token and return the logits behind it, as :meth:`start` does."""
        self._token[0, 0] = token
        if self._device != "cpu":  # a binding copies what lies on the host when it is made
            self._step = self._bind(self._token)
        self._session.run_with_iobinding(self._step)
        self._past_length[0] += 1
        return self._scores

    def greedy(self, prompt: Sequence[int], *, stop_loops: bool) -> tuple[tuple[int, ...], bool]:
        """Take the most likely next token again and again, up to end of text or the model's length.

        The rules are those of transformers' ``generate``: suppressed tokens never, ``begin_suppress`` not first.

        Args:
            prompt: The tokens before the text.
            stop_loops: Whether to stop, and keep one round, when the tokens only go round in a circle.

        Returns:
            The tokens, and whether they ended in a loop.
        """
        scores = self.start(prompt)
        scores[self._begin_suppress] = -np.inf
        found: list[int] = []
        while True:
            scores[self._suppress] = -np.inf
            token = int(scores.argmax())
            if token == self._decoding.eot:
                break
            found.append(token)
            if stop_loops and (surplus := repeated(found)):
                return tuple(found[:-surplus]), True
            if len(prompt) + len(found) >= self._decoding.max_length:
                break
            scores = self.step(token)
        return tuple(found), False
