"""Decoding of one clip or several at once, over key/value caches that stay in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastwhisper_compress.runtime.hypothesis import Hypothesis, Text
from fastwhisper_compress.runtime.memory import untouched_zeros
from fastwhisper_compress.runtime.phases import OnPhase, ignore_phase
from fastwhisper_compress.runtime.prompt import previous_tokens, prompt_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnxruntime as ort

    from fastwhisper_compress.runtime.manifest import Decoding
    from fastwhisper_compress.runtime.options import Options


QUERY, KEY = "cross_query.", "cross_key."  # and the layer: what the text asks, and what of the audio answers
_KEY_SCALE = "cross_key_scale."  # and the layer, where keys are integers


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
        # The operator that attends to integers takes one clip with many tokens or many clips with one token each.
        self._token_by_token = first.shape()[0] > 1 and any(name.startswith(_KEY_SCALE) for name in cross)
        self._past_length = np.zeros(1, np.int32)
        self._tokens = np.zeros((0, 0), np.int64)
        self._step: ort.IOBinding | None = None
        self._exchanged: list[tuple[int, int]] | None = [] if restorable else None
        self._unchanged = {node.name for node in session.get_outputs() if node.name.startswith("present_cross_")}
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
        if self._token_by_token and tokens.shape[1] > 1:
            self.feed(tokens[:, :-1])
            tokens = tokens[:, -1:]
        if self._step is not None and self._device == "cpu" and tokens.shape == self._tokens.shape:
            self._tokens[:] = tokens
        else:  # another shape, or a device: its binding copies what lies on the host when it is made
            self._tokens = np.array(tokens, np.int64)
            self._step = self._bind()
        self._session.run_with_iobinding(self._step)
        self._past_length[0] += tokens.shape[1]
        return self._logits

    def queries(self, tokens: np.ndarray) -> dict[int, np.ndarray]:
        """Read tokens, the first and last of this batch, and return what they ask of the audio.

        Shapes: int64 (batch, n) -> by layer, float (batch, n, heads * head_dim).
        """
        self._tokens = np.array(tokens, np.int64)
        binding = self._bind()
        names = [node.name for node in self._session.get_outputs() if node.name.startswith(QUERY)]
        for name in names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        found = binding.get_outputs()[-len(names) :]
        return {int(name.removeprefix(QUERY)): value.numpy().copy() for name, value in zip(names, found, strict=True)}

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
            if f"present_{name}" in self._unchanged:
                binding.bind_ortvalue_output(f"present_{name}", buffer)
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

    def decode(
        self, cross: Mapping[str, ort.OrtValue], options: Options, *, on_phase: OnPhase = ignore_phase
    ) -> list[Hypothesis]:
        """Take one token after the other, up to end of text or the model's length.

        The rules are those of transformers' ``generate``: suppressed tokens never, ``begin_suppress`` not first. Those
        of timestamps are openai-whisper's. Clips that have ended stay in the batch until half of it has: dropping them
        moves the others' keys and values.

        Args:
            cross: The encoder's keys and values, (batch, heads, audio length, head_dim) each. They are moved about, and
                overwritten unless words are asked for.
            options: What is asked for; the caller has checked them.
            on_phase: Told of ``prefill`` and ``decode``.

        Returns:
            One hypothesis a clip.
        """
        on_phase("prefill")
        batch, rows, scores = self._begin(cross, options)
        texts = rows  # rows are those in the batch, in its order
        on_phase("decode")
        while True:
            scores[:, self._suppress] = -np.inf
            for text, of_clip in zip(rows, scores, strict=True):
                if text.hypothesis is None:
                    text.take(of_clip)
            running = [row for row, text in enumerate(rows) if text.hypothesis is None]
            if not running:
                if options.words:  # these look at what the text was found in
                    batch.restore()
                return [text.finished() for text in texts]
            if len(running) <= len(rows) // 2:
                batch.keep(running)
                rows = [rows[row] for row in running]
            scores = batch.feed(np.array([[text.last] for text in rows], np.int64))

    def languages(self, cross: Mapping[str, ort.OrtValue]) -> np.ndarray:
        """Return how likely each language is that the model knows, in its order.

        As in openai-whisper, they are the probabilities behind the start of transcript, of the languages' tokens alone.

        Shapes: float32 (batch, n_languages).
        """
        n_clips = next(iter(cross.values())).shape()[0]
        scores = Batch(self._session, cross).feed(np.full((n_clips, 1), self._decoding.sot, np.int64))
        return _softmax(scores[:, list(self._decoding.languages.values())])

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

    def _begin(self, cross: Mapping[str, ort.OrtValue], options: Options) -> tuple[Batch, list[Text], np.ndarray]:
        """Read the prompts, which are all of one length, and return what to go on with, and by which scores."""
        ids = self._decoding
        languages = self._languages(cross, options)
        before = previous_tokens(ids, options.previous)
        starts = [prompt_tokens(ids, one, options.task, timestamps=options.timestamps) for one in languages]
        prompts = np.array([(*before, *start, *options.prefix) for start in starts], np.int64)
        batch = Batch(self._session, cross, restorable=options.words)
        silent: list[float | None] = [None] * len(languages)
        if options.no_speech and ids.no_speech is not None:  # it is told at the start of transcript
            start_at = len(before) + 1
            scores = batch.feed(prompts[:, :start_at])
            silent = [float(row[ids.no_speech]) for row in _softmax(scores)]
            prompts = prompts[:, start_at:]
        if prompts.size:
            scores = batch.feed(prompts)
        if not options.prefix:
            scores[:, self._begin_suppress] = -np.inf
        room = ids.max_length - len(before) - len(starts[0])
        texts = [
            Text(ids, options, room, language=language, no_speech_prob=probability)
            for language, probability in zip(languages, silent, strict=True)
        ]
        return batch, texts, scores

    def _languages(self, cross: Mapping[str, ort.OrtValue], options: Options) -> list[str]:
        n_clips = next(iter(cross.values())).shape()[0]
        known = list(self._decoding.languages)
        if options.language is not None or not known:
            return [options.language or "en"] * n_clips
        return [known[int(row.argmax())] for row in self.languages(cross)]


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Return probabilities along the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    found: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return found
