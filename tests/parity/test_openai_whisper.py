"""Against openai-whisper: timestamps, context, language detection, and recordings longer than its window."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
from openai_models import openai_model
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan

from fastwhisper_compress.evaluation.suite import load_suite
from fastwhisper_compress.runtime.audio import read_audio
from fastwhisper_compress.runtime.options import Options
from fastwhisper_compress.transcription.sequential import transcribe_sequentially

# Its tokenizer leaves its file open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def heard(openai_tiny_en, clips):
    """What their encoder makes of each clip."""
    import torch
    import whisper

    mels = {name: whisper.log_mel_spectrogram(whisper.pad_or_trim(samples)) for name, samples in clips.items()}
    with torch.no_grad():
        return {name: openai_tiny_en.embed_audio(mel[None])[0] for name, mel in mels.items()}


@pytest.mark.parametrize("previous", [(), (1770, 11, 50363, 314, 1101, 5938)])
def test_texts_with_timestamps_are_theirs(tiny_artifact, openai_tiny_en, heard, clips, previous):
    import whisper

    options = whisper.DecodingOptions(language="en", fp16=False, prompt=list(previous) or None)
    for name, samples in clips.items():
        expected = whisper.decode(openai_tiny_en, heard[name], options)
        found = tiny_artifact("fp32").transcribe(samples, Options(timestamps=True, no_speech=True, previous=previous))
        assert found.tokens == tuple(expected.tokens)
        assert found.text == expected.text
        assert found.mean_logprob == pytest.approx(expected.avg_logprob, abs=1e-3)
        assert found.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=0.02)
        assert "".join(one.text for one in found.segments).strip() == found.text
        times = [time for one in found.segments for time in (one.start_s, one.end_s)]
        assert times == sorted(times)
        assert times[-1] <= samples.size / 16_000


def test_languages_are_as_likely_as_theirs(tmp_path):
    import torch
    from whisper.decoding import detect_language

    checkpoint = small_checkpoint(3, multilingual=True, encoder_ffn=512, decoder_ffn=512)
    ids = checkpoint.decoding
    tokenizer = SimpleNamespace(
        language="en",
        language_token=ids.languages["en"],
        sot=ids.sot,
        sot_sequence=(ids.sot, ids.languages["en"], ids.transcribe),
        all_language_tokens=tuple(ids.languages.values()),
        all_language_codes=tuple(ids.languages),
    )
    ours, model = opened(checkpoint, uniform_plan(checkpoint.dims), tmp_path / "ours"), openai_model(checkpoint)
    seen = set()
    for seed in range(3):
        samples = speech_like(0.9, seed)
        _, expected = detect_language(model, torch.from_numpy(ours.log_mel(samples)[0]), tokenizer)
        found = ours.detect_language(samples)
        assert found == pytest.approx(expected, abs=1e-4)
        likeliest = max(found, key=found.get)
        seen.add(likeliest)
        assert ours.transcribe(samples).language == likeliest
        assert ours.transcribe(samples) == ours.transcribe(samples, Options(language=likeliest))
    assert seen - {"en"}  # which would be the guess of one that does not listen


def windows_by_themselves(monkeypatch):
    """Have openai-whisper normalise the spectrogram of each window by itself, as a stream can: not by the whole recording."""
    import torch
    from whisper.audio import mel_filters

    def log_mel(samples, n_mels, padding):
        padded = torch.nn.functional.pad(torch.from_numpy(samples), (0, padding))
        spectrum = torch.stft(padded, 400, 160, window=torch.hann_window(400), return_complex=True)
        power = mel_filters("cpu", n_mels) @ spectrum[:, :-1].abs() ** 2
        return power.clamp(min=1e-10).log10()

    def pad_or_trim(mel, frames):
        mel = torch.nn.functional.pad(mel, (0, frames - mel.shape[1]), value=-10.0)
        return (mel.maximum(mel.max() - 8.0) + 4.0) / 4.0

    module = importlib.import_module("whisper.transcribe")
    monkeypatch.setattr(module, "log_mel_spectrogram", log_mel)
    monkeypatch.setattr(module, "pad_or_trim", pad_or_trim)


@pytest.mark.slow
def test_a_recording_is_heard_as_they_hear_it(tiny_artifact, openai_tiny_en, monkeypatch):
    """Greedy, as sampling draws from another generator."""
    import whisper

    windows_by_themselves(monkeypatch)
    wanted = ("long-01", "money-03", "long-05", "names-01", "long-07", "dates-04", "long-09")
    by_id = {one.id: read_audio(one.audio) for one in load_suite("demo").utterances if one.id in wanted}
    pause = np.zeros(6_000, np.float32)
    recording = np.concatenate([part for name in wanted for part in (by_id[name], pause)])
    assert 55 < recording.size / 16_000 < 80
    expected = whisper.transcribe(openai_tiny_en, recording, temperature=0.0, language="en", fp16=False)["segments"]
    blocks = np.array_split(recording, 50)
    found = list(transcribe_sequentially(tiny_artifact("fp32"), blocks, temperatures=(0.0,)))
    assert len(found) > 5
    assert [one.text for one in found] == [one["text"] for one in expected]
    times = [(one.start_s, one.end_s) for one in found]
    until = [min(one["end"], round(recording.size / 16_000, 2)) for one in expected]  # ours end with the recording
    assert np.abs(np.array(times) - list(zip([one["start"] for one in expected], until, strict=True))).max() < 0.011
