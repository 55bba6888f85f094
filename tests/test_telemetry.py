"""Nothing that this package imports tells anybody about it."""

from __future__ import annotations

import os
import sys

import pytest

from fastwhisper_compress.cli import main
from fastwhisper_compress.runtime.session import import_onnxruntime


def test_onnxruntime_is_told_to_say_nothing(monkeypatch):
    import onnxruntime

    told = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: told.append("off"))
    import_onnxruntime()
    assert told == ["off"]


def test_the_command_line_turns_it_off_for_hugging_face(monkeypatch):
    for name in ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(sys, "argv", ["fastwhisper-compress", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert (os.environ["HF_HUB_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"]) == ("1", "1")
