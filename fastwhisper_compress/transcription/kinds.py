"""What a transcript can be written as; here alone, as the command line must know it before anything is loaded."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """What a transcript can be written as; also the suffix of the file."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    TSV = "tsv"
    JSON = "json"
