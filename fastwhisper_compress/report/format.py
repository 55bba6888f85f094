"""Numbers as people read them: MB = 1e6 bytes, WER in percent, differences in percentage points."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


def number(value: float, digits: int = 0) -> str:
    """Fixed digits, thousands apart, a true minus sign and no negative zero."""
    text = f"{value:,.{digits}f}"
    if text.startswith("-"):
        text = text[1:] if not text.strip("-0.,") else MINUS + text[1:]
    return text


def signed(value: float, digits: int = 0) -> str:
    """Like ``number``, with a plus in front of what is above zero after rounding."""
    text = number(value, digits)
    return text if text.startswith(MINUS) or not text.strip("0.,") else "+" + text


def tick(value: float, *, sign: bool = False) -> str:
    """A number on an axis with the digits it needs and no more: rounding would put it in the wrong place."""
    text = f"{value:+,.6g}" if sign and value else f"{value:,.6g}"
    return "0" if text in ("0", "-0") else text.replace("-", MINUS)


def megabytes(n_bytes: float) -> str:
    """``51.2 MB``; small files keep their bytes readable as kB."""
    if n_bytes == 0:
        return "0 MB"
    return f"{number(n_bytes / 1e6, 1)} MB" if n_bytes >= 1e5 else f"{number(n_bytes / 1e3, 1)} kB"


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction in percent."""
    return f"{number(100 * fraction, digits)} %"


def points(value: float) -> str:
    """A signed difference in percentage points."""
    return f"{signed(value, 2)} pp"


def interval(bounds: Sequence[float] | None) -> str:
    """The two ends of an interval in percentage points."""
    return f"{signed(bounds[0], 2)} to {signed(bounds[1], 2)} pp" if bounds else NONE


def ratio(value: float) -> str:
    """A factor such as 1.50, followed by a times sign."""
    return f"{number(value, 2)}{TIMES}"


def seconds(value: float) -> str:
    """Seconds, two digits below ten."""
    return f"{number(value, 1)} s" if value >= 10 else f"{number(value, 2)} s"


def scientific(value: float | None) -> str:
    """An error of any size to two digits, such as ``3.1e-05`` or ``0.41``; null is a dash."""
    return NONE if value is None else f"{value:.2g}"


def decibel(value: float | None) -> str:
    """Decibels to a tenth; null is a dash."""
    return NONE if value is None else f"{number(value, 1)} dB"


def saved(pct: float) -> str:
    """``66.4 % less``, ``3.0 % more`` or ``the same``, from a percentage saved."""
    if not number(pct, 1).strip(f"{MINUS}0."):
        return "the same"
    return f"{number(abs(pct), 1)} % {'less' if pct > 0 else 'more'}"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """``1 utterance``, ``120 utterances``."""
    return f"{number(n)} {noun if n == 1 else plural or noun + 's'}"


def units(n: int, unit: str) -> str:
    """``1 window``, ``120 windows``; ``9 utterances or windows`` where both are counted."""
    return count(n, unit, plural(unit))


def plural(unit: str) -> str:
    """``windows``, ``utterances or windows``."""
    return " or ".join(f"{one}s" for one in unit.split(" or "))


def clock(seconds: float) -> str:
    """A time in a recording, to the tenth: ``2:05.3``, ``1:02:05.3``."""
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def moment(iso: str | None) -> str:
    """A time of ISO 8601 in UTC, to the minute: seconds would only push the next column out of sight."""
    if iso is None:
        return NONE
    try:
        return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M}"
    except ValueError:
        return iso
