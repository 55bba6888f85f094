"""What a model needs besides its weights: activations and the two key/value caches, from dimensions alone.

The self-attention cache grows by one row a token and layer, so linearly with the text; the cross-attention cache is
computed once for a window of audio and stays as it is. Neither grows with a square. What does is the matrix of attention
scores of the encoder, and only where it is spelled out: the fused kernel never holds it whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastwhisper_compress.checkpoint.dims import Dims
from fastwhisper_compress.errors import UsageError
from fastwhisper_compress.memory.layout import Layout

MAX_AUDIO_S = 30
_MOST_ROWS = 1_000_000  # of a batch or a beam; beyond that is a slip of the keyboard
_FLASH_TILE = 256  # queries and keys that a thread's tile of the fused kernel spans at most (MLAS, flashattn.cpp)
_N_FFT_BINS = 201
_SAMPLES_A_SECOND = 16_000


@dataclass(frozen=True)
class Workload:
    """What the model is to do at once.

    Attributes:
        batch: Clips decoded together.
        audio_s: Seconds that the encoder is given of each.
        beam: Hypotheses kept of each clip; our own decoder is greedy and keeps one.
        tokens: Length of the text with its prompt; None takes the most that the model can write.
        vocabulary: How many different tokens come up in all that is transcribed; None takes all there are.
    """

    batch: int = 1
    audio_s: float = MAX_AUDIO_S
    beam: int = 1
    tokens: int | None = None
    vocabulary: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no run can mean.

        Raises:
            UsageError: A number is out of its range.
        """
        for name, value in (("--batch", self.batch), ("--beam", self.beam)):
            if not 1 <= value <= _MOST_ROWS:
                asked = f"{value:,}" if abs(value) <= 10**12 else "a number of that length"
                raise UsageError(
                    f"{asked} is not 1 to {_MOST_ROWS:,}", place=name, remedy="give 1 or more, and no more than that"
                )
        if not 0 < self.audio_s <= MAX_AUDIO_S:
            raise UsageError(
                f"{self.audio_s:g} s of audio is not above 0 and at most {MAX_AUDIO_S} s, the encoder's window",
                place="--audio-s",
                remedy="longer recordings are cut into windows, of which each costs what one window does",
            )
        if self.tokens is not None and self.tokens < 1:
            raise UsageError(f"a text of {self.tokens} tokens", place="--tokens", remedy="give 1 or more")


@dataclass(frozen=True)
class Activations:
    """Most that is alive at once in each phase, in bytes.

    Attributes:
        log_mel: Samples and spectra of one clip; nothing on CUDA, since they are made by the processor.
        encode: The encoder, cross-attention caches not counted.
        encode_where: The part of the encoder where that is.
        decode: The decoder's own, for one token a row; its logits not counted.
        prefill: The same for the prompt.
        logits: Scores of the vocabulary, as the graph gives them.
        attention_flash: Workspace of the encoder's attention in the fused kernel.
        attention_plain: The same with standard operators, which hold scores and shares whole.
    """

    log_mel: int
    encode: int
    encode_where: str
    prefill: int
    decode: int
    logits: int
    attention_flash: int
    attention_plain: int


def audio_length(layout: Layout, work: Workload) -> int:
    """Return how many positions the encoder's output has: half the frames."""
    whole = layout.dims.n_audio_ctx * 2 * work.audio_s / MAX_AUDIO_S
    return max(1, -(-round(whole) // 2))


def text_length(dims: Dims, work: Workload) -> int:
    """Return how many tokens a text has, its prompt included.

    Raises:
        UsageError: The model cannot write so many.
    """
    if work.tokens is None:
        return dims.n_text_ctx
    if work.tokens > dims.n_text_ctx:
        raise UsageError(
            f"{work.tokens:,} tokens are more than the {dims.n_text_ctx} that the model can write",
            place="--tokens",
            remedy=f"give at most {dims.n_text_ctx}",
        )
    return work.tokens


def self_cache_bytes(layout: Layout, work: Workload) -> int:
    """Return the keys and values of the text so far, of every layer and row of the batch.

    ``2 * layers * heads * head_dim * tokens * bytes`` a row: linear in the tokens. Buffers are as long as the model's
    text can be; on a CPU, memory that no token has reached is never touched, on CUDA it is taken at once.
    """
    dims = layout.dims
    tokens = text_length(dims, work)
    if layout.plan.provider == "cuda":
        tokens = dims.n_text_ctx
    width = sum(layout.width(f"decoder.layers.{i}.self_attn") for i in range(dims.decoder_layers))
    return 2 * width * tokens * _kv_item(layout) * work.batch * work.beam


def cross_cache_bytes(layout: Layout, work: Workload) -> int:
    """Return the keys and values of the audio, of every layer and row of the batch: fixed by the window."""
    a_position = 0
    for i in range(layout.dims.decoder_layers):
        path = f"decoder.layers.{i}.encoder_attn"
        a_position += layout.width(path) * (1 if path in layout.plan.cross_int8 else _kv_item(layout))
    return 2 * a_position * audio_length(layout, work) * work.batch * work.beam


def activations(layout: Layout, work: Workload, *, threads: int) -> Activations:
    """Add up what is alive at the widest point of each phase.

    The residual stream is FP32 in every precision; what kernels take and give has the type that they compute in. On a CPU
    clips are encoded one by one, on CUDA all together.
    """
    dims = layout.dims
    cuda = layout.plan.provider == "cuda"
    batch = work.batch if cuda else 1
    item = 2 if layout.plan.kv_dtype == "fp16" else 4
    length = audio_length(layout, work)
    unit = batch * length * dims.d_model * 4  # the residual stream
    flash, plain = _attention_workspaces(layout, batch, length, item, threads)
    fused = all(f"encoder.layers.{i}.self_attn" in layout.plan.fuse for i in range(dims.encoder_layers))
    wide = max(layout.channels(f"encoder.layers.{i}") for i in range(dims.encoder_layers))
    # Keys, queries and values, the same once more by heads, and the mix; beside the residual.
    attention = unit + 7 * batch * length * dims.d_model * item + (flash if fused else plain)
    hidden = batch * length * wide * item
    feed_forward = 3 * unit + 2 * hidden + hidden // item  # before and behind GELU, and rounded to 8 bits
    frames = 2 * length
    stem = batch * frames * (dims.n_mels * 4 + 2 * dims.d_model * item)
    where, encode = max({"attention": attention, "feed-forward": feed_forward, "stem": stem}.items(), key=_bytes)
    rows = work.batch * work.beam
    text = max(layout.channels(f"decoder.layers.{i}") for i in range(dims.decoder_layers))
    a_token = 4 * (6 * dims.d_model + 2 * text) + dims.decoder_heads * length * 4
    return Activations(
        log_mel=0
        if cuda
        else round(work.audio_s * _SAMPLES_A_SECOND) * 4 + frames * (3 * _N_FFT_BINS + dims.n_mels) * 4,
        encode=encode,
        encode_where=where,
        prefill=rows * 4 * a_token,
        decode=rows * a_token,
        logits=rows * dims.n_vocab * 4,
        attention_flash=flash,
        attention_plain=plain,
    )


def _attention_workspaces(layout: Layout, batch: int, length: int, item: int, threads: int) -> tuple[int, int]:
    """Return the workspace of the encoder's self-attention, fused and plain."""
    dims = layout.dims
    tile = min(_FLASH_TILE, length)
    head = dims.head_dim("encoder.")
    flash = threads * tile * (tile + 2 + head) * 4
    heads = max(layout.width(f"encoder.layers.{i}.self_attn") for i in range(dims.encoder_layers)) // head
    return flash, 2 * batch * heads * length * length * item


def _kv_item(layout: Layout) -> int:
    return 2 if layout.plan.kv_dtype == "fp16" else 4


def _bytes(named: tuple[str, int]) -> int:
    return named[1]
