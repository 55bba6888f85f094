"""Word times against openai-whisper's, and what they are read from against transformers' attention."""

from __future__ import annotations

import numpy as np
import pytest
from small_whisper import opened, small_checkpoint, speech_like, uniform_plan, with_decoding

from fastwhisper_compress.pipeline.reference import Reference, reference_log_mel
from fastwhisper_compress.runtime.options import Options

PROMPT, TEXT = (257, 270), tuple(b"Any text.")
# Both compute in FP32 with their own kernels. Where two ways through the matrix cost nearly the same, the last bit
# decides, and a boundary moves by a position or two of 20 ms; on these clips none does.
TOLERANCE_S = 0.04


@pytest.mark.parametrize("fuse", [True, False])
def test_the_queries_meet_the_keys_as_in_transformers(tmp_path, fuse):
    import torch

    heads = ((0, 1), (2, 0))
    checkpoint = with_decoding(small_checkpoint(7, decoder_layers=3), alignment_heads=heads)
    artifact = opened(checkpoint, uniform_plan(checkpoint.dims, fuse=fuse), tmp_path / "artifact")
    samples = speech_like(0.8)
    encoded = artifact.encode([samples])
    (queries,) = artifact._decoder.queries(encoded.cross, [(*PROMPT, *TEXT)])
    assert queries.keys() == {0, 2}

    reference = Reference(checkpoint)
    reference._model.set_attn_implementation("eager")
    hidden = torch.from_numpy(reference.encode(artifact.log_mel(samples)))
    with torch.no_grad():
        shares = reference._model(
            encoder_outputs=(hidden,), decoder_input_ids=torch.tensor([[*PROMPT, *TEXT]]), output_attentions=True
        ).cross_attentions
    for layer, head in heads:
        key = encoded.cross[f"cross_key.{layer}"].numpy()[0, head]
        scores = queries[layer][:, head * 64 : (head + 1) * 64] @ key.T / 8
        ours = np.exp(scores - scores.max(axis=1, keepdims=True))
        ours /= ours.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(ours, shares[layer][0, head].numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore:unclosed file <.*tiktoken:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the tokenizer's own file handle
@pytest.mark.parametrize("timestamps", [False, True])
def test_words_are_those_of_openai_whisper(openai_tiny_en, tiny_artifact, clips, timestamps):
    import torch
    from whisper.timing import add_word_timestamps
    from whisper.tokenizer import get_tokenizer

    artifact, off, total = tiny_artifact("fp32"), 0, 0
    for samples in clips.values():
        plain = artifact.transcribe(samples, Options(timestamps=timestamps))
        found = artifact.transcribe(samples, Options(timestamps=timestamps, words=True))
        bounds = [(one.start_s, one.end_s, one.tokens) for one in plain.segments]
        bounds = bounds or [(0.0, samples.size / 16_000, plain.tokens)]
        theirs = [{"seek": 0, "start": start, "end": end, "tokens": list(tokens)} for start, end, tokens in bounds]
        add_word_timestamps(
            segments=theirs,
            model=openai_tiny_en,
            tokenizer=get_tokenizer(multilingual=False),
            mel=torch.from_numpy(reference_log_mel(samples, 80)),
            num_frames=samples.size // 160,
            last_speech_timestamp=0.0,
        )
        expected = [[word["word"] for word in segment["words"]] for segment in theirs]
        assert [[word.text for word in segment.words] for segment in found.segments] == expected
        words = [word for segment in theirs for word in segment["words"]]
        for one, word in zip(found.words, words, strict=True):
            distance = max(abs(one.start_s - word["start"]), abs(one.end_s - word["end"]))
            off += distance > TOLERANCE_S
            total += 1
            if not timestamps:  # else ours was found behind another prompt, theirs is of the second reading
                assert one.probability == pytest.approx(word["probability"], abs=0.1)
    assert total > 40
    assert off <= 0.05 * total
