"""Pairs of places, each once and in order: who was chosen, locked, or together before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from services.matching.measures import Mask, Named, Places


@dataclass(frozen=True, slots=True)
class Taken:
    """Pairs by row, then by column; `shape` is how many stand on either side.

    Of equals each pair stands twice, once in either row.
    """

    first: Places
    second: Places
    shape: tuple[int, int]

    @classmethod
    def of(cls, first: Places, second: Places, shape: tuple[int, int]) -> Self:
        """Return pairs in order, whatever order they came in and however often."""
        rows, columns = np.divmod(np.unique(first * shape[1] + second), max(1, shape[1]))
        return cls(rows.astype(np.int64), columns.astype(np.int64), shape)

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self.first.tolist(), self.second.tolist(), strict=True))

    @property
    def codes(self) -> Places:
        """One number for each pair, rising."""
        return self.first * self.shape[1] + self.second

    def holds(self, first: Places, second: Places) -> Mask:
        """Return which of some pairs are among these."""
        asked, codes = first * self.shape[1] + second, self.codes
        if not len(codes):
            return np.zeros(len(asked), dtype=bool)
        found: Mask = codes[np.minimum(np.searchsorted(codes, asked), len(codes) - 1)] == asked
        return found

    def has(self, first: int, second: int) -> bool:
        """Tell whether a pair is among these."""
        code, codes = first * self.shape[1] + second, self.codes
        place = int(np.searchsorted(codes, code))
        return place < len(codes) and int(codes[place]) == code

    def of_first(self, place: int) -> Places:
        """Return whom somebody of the first side has."""
        low, high = np.searchsorted(self.first, (place, place + 1))
        return self.second[low:high]

    def of_second(self, place: int) -> Places:
        """Return whom somebody of the second side has."""
        found: Places = self.first[self.second == place]
        return found

    def among(self, kept: Mask) -> "Taken":
        """Return some of the pairs."""
        return Taken(self.first[kept], self.second[kept], self.shape)

    def without(self, others: "Taken") -> "Taken":
        """Return the pairs that are not among others."""
        return self.among(~others.holds(self.first, self.second))

    def both(self, others: "Taken") -> "Taken":
        """Return the pairs of either."""
        first = np.concatenate([self.first, others.first])
        return Taken.of(first, np.concatenate([self.second, others.second]), self.shape)

    def once(self) -> "Taken":
        """Return each pair of equals once, whoever stands earlier first."""
        return self.among(self.first < self.second)

    def twice(self) -> "Taken":
        """Return each pair of equals in either row."""
        return self.both(Taken(self.second, self.first, self.shape))

    @property
    def sizes(self) -> tuple[Places, Places]:
        """How many everybody of either side has."""
        height, width = self.shape
        return np.bincount(self.first, minlength=height), np.bincount(self.second, minlength=width)

    def named(self, dtype: type[np.generic] = np.bool_) -> Named:
        """Return the pairs as a measure that is 1 for each of them."""
        return Named(self.first, self.second, np.ones(len(self), dtype=dtype), self.shape)


def nobody(shape: tuple[int, int]) -> Taken:
    """Return no pairs."""
    none = np.zeros(0, dtype=np.int64)
    return Taken(none, none, shape)
