"""Tables as values: what they say, before anything decides how they look."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A captioned table.

    Attributes:
        head: One entry per column.
        n_labels: That many columns from the left are words; the others are numbers.
        words: Further columns that are words.
        note: A sentence for below the table.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_labels: int = 1
    words: frozenset[int] = frozenset()
    note: str = ""

    def is_number(self, column: int) -> bool:
        """Tell whether a column is set flush right."""
        return column >= self.n_labels and column not in self.words
