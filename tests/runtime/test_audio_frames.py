"""What the process that decodes may answer: everything comes back as it was, and nothing else gets through."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from fastwhisper_compress.errors import AudioError, BackendError
from fastwhisper_compress.runtime.audio_frames import (
    MOST_SAMPLES,
    Ask,
    Closed,
    End,
    FrameError,
    Opened,
    Request,
    packed,
    read_answer,
    read_request,
)
from fastwhisper_compress.runtime.audio_source import Gap


def answered(content):
    file = io.BytesIO(content)
    answer = read_answer(lambda size: bytearray(file.read(size)))
    assert not file.read()
    return answer


@pytest.mark.parametrize("answer", [Opened(2.5), Opened(None), End(), Closed(), Gap(1.0, 2.5, "für immer")])
def test_an_answer_comes_back_as_it_was(answer):
    assert answered(packed(answer)) == answer


def test_samples_come_back_as_they_were():
    samples = np.linspace(-1, 1, MOST_SAMPLES, dtype=np.float32)
    found = answered(packed(samples))
    assert np.array_equal(found, samples)
    assert found.flags.writeable


@pytest.mark.parametrize("kind", [AudioError, BackendError])
def test_an_error_comes_back_without_what_a_terminal_would_obey(kind):
    found = answered(packed(kind("is \x1b[31mred\n" + "é" * 5000, place="there", remedy="paint it")))
    assert type(found) is kind
    assert found.message.startswith("is  [31mred ")
    assert len(found.message) < 2000
    assert (found.place, found.remedy) == (None, "paint it")


def test_a_request_comes_back_as_it_was():
    request = Request(Ask.FILE, 1.5, b"/a/\xff/b.wav")
    assert read_request(io.BytesIO(request.packed()).read) == request


SAMPLES, GAP, ERROR = 2, 3, 5


@pytest.mark.parametrize(
    ("tell", "size", "content"),
    [
        (0, 0, b""),
        (99, 0, b""),
        (SAMPLES, 2**32 - 1, b""),  # refused before anything is read or held
        (SAMPLES, 4 * MOST_SAMPLES + 4, b""),
        (SAMPLES, 0, b""),
        (SAMPLES, 5, bytes(5)),
        (SAMPLES, 4, struct.pack("<f", np.nan)),
        (SAMPLES, 4, struct.pack("<f", np.inf)),
        (GAP, 15, bytes(15)),
        (GAP, 16, struct.pack("<dd", 2, 1)),
        (GAP, 16, struct.pack("<dd", -1, 1)),
        (GAP, 16, struct.pack("<dd", 0, np.inf)),
        (GAP, 16, struct.pack("<dd", np.nan, np.nan)),
        (GAP, 2**31, b""),
        (ERROR, 0, b""),
        (ERROR, 5, b"\x09a\0bc"),
        (ERROR, 3, b"\x01ab"),
        (ERROR, 3, b"\x01\0b"),
        (ERROR, 2**30, b""),
    ],
)
def test_what_cannot_have_been_meant_is_refused(tell, size, content):
    with pytest.raises(FrameError):
        answered(struct.pack("<BI", tell, size) + content)


@pytest.mark.parametrize("duration_s", [np.nan, np.inf, -5.0, 1e300])
def test_a_duration_that_cannot_be_is_none(duration_s):
    assert answered(struct.pack("<BId", 1, 8, duration_s)) == Opened(None)
