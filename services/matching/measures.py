"""What two people are to each other, as arithmetic on arrays: for listed pairs, or for a block.

A block is exactly what its pairs are one by one, on every machine. Sums that a library may take
in any order are sums of whole numbers: of integers, or in float32 of such as stay below 2^24 and
are not rounded. Everything else is elementwise, where IEEE 754 leaves no choice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from services.matching.columns import Sets, sorted_words
from services.matching.kernel.compiling import compiled

type Places = npt.NDArray[np.int64]
type Values = npt.NDArray[Any]
type Columns = tuple[npt.NDArray[Any], ...]
type Mask = npt.NDArray[np.bool_]
type Ints32 = npt.NDArray[np.int32]
type Keys = npt.NDArray[np.uint64]

WORD = 64
MOST_WORDS = 8
"""Sets of at most so many words of 64 bits are compared bit by bit."""
FREQUENT, FREQUENT_CELLS = 20, 8_000_000
"""A word is frequent if at least one in so many people has it."""


class Measure(Protocol):
    """A value for every pair of two sides."""

    def pairs(self, first: Places, second: Places) -> Values:
        """Return the values of pairs, one for each entry of both."""

    def block(self, rows: slice, columns: slice) -> Values:
        """Return the values of everybody in `rows` with everybody in `columns`.

        Both slices have a start and a stop.
        """

    def take(self, first: Places, second: Places) -> Self:
        """Return the same measure on some of the people, in the order given."""

    def keys(self) -> tuple[Keys, Keys] | None:
        """Return for each side one row per person: who has equal rows has equal values.

        None where so few people are alike that it is not worth looking.
        """


# From what is known of each.


@dataclass(frozen=True, slots=True)
class Compared:
    """A value worked out elementwise from columns of both, by arithmetic that broadcasts."""

    value: Callable[[Columns, Columns], Values]
    left: Columns
    right: Columns

    def pairs(self, first: Places, second: Places) -> Values:
        """Return the values of pairs."""
        return self.value(_at(self.left, first), _at(self.right, second))

    def block(self, rows: slice, columns: slice) -> Values:
        """Return the values of a block."""
        return self.value(
            tuple(one[rows, None] for one in self.left),
            tuple(one[None, columns] for one in self.right),
        )

    def take(self, first: Places, second: Places) -> "Compared":
        """Return the same on some of the people."""
        return Compared(self.value, _at(self.left, first), _at(self.right, second))

    def keys(self) -> tuple[Keys, Keys]:
        """Return the columns themselves."""
        return _key(self.left), _key(self.right)


def _at(columns: Columns, places: Places) -> Columns:
    return tuple(one[places] for one in columns)


def _key(columns: Columns) -> Keys:
    return np.stack(columns, axis=1).astype(np.float64).view(np.uint64)


# From what both have.


class Product(Protocol):
    """How much two people share: sums of products of whole numbers."""

    def pairs(self, first: Places, second: Places) -> Values:
        """Return the sums of pairs."""

    def block(self, rows: slice, columns: slice) -> Values:
        """Return the sums of a block."""

    def take(self, first: Places, second: Places) -> Self:
        """Return the same on some of the people."""

    def keys(self) -> tuple[Keys, Keys] | None:
        """Return what makes people alike, if that is worth looking at."""


@dataclass(frozen=True, slots=True)
class Bits:
    """Sets of few members, a bit each in words of 64: both [people, words]."""

    left: Keys
    right: Keys

    def pairs(self, first: Places, second: Places) -> Values:
        """Count what pairs share."""
        both = self.left[first] & self.right[second]
        return np.bitwise_count(both).sum(axis=1, dtype=np.int16)

    def block(self, rows: slice, columns: slice) -> Values:
        """Count what a block shares."""
        return _shared_bits(self.left[rows], np.ascontiguousarray(self.right[columns].T))

    def take(self, first: Places, second: Places) -> "Bits":
        """Return the same on some of the people."""
        return Bits(self.left[first], self.right[second])

    def keys(self) -> tuple[Keys, Keys]:
        """Return the sets themselves."""
        return self.left, self.right


class Lists(NamedTuple):
    """A sparse matrix: entries of row `i` lie from `starts[i]` to `starts[i + 1]`, in order."""

    starts: Places
    places: Ints32
    amounts: Ints32

    @classmethod
    def of(cls, matrix: Any) -> "Lists":
        """Return a SciPy matrix of one of the two compressed forms."""
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices.astype(np.int32),
            matrix.data.astype(np.int32),
        )


class Words(NamedTuple):
    """What each of the first side has, and who of the second has a word, as `Sparse` needs it.

    Frequent words are also rows of a matrix, added ten times as fast as by a list of people;
    `row_of` says which, and is -1 for the others.
    """

    of_first: Lists
    of_word: Lists
    row_of: Places
    frequent: Ints32

    @classmethod
    def of(cls, left: Any, right: Any) -> "Words":
        """Return what is in two SciPy matrices [people, words]."""
        people, listed = max(1, right.shape[0]), right.tocsc()
        frequent = np.flatnonzero(np.diff(listed.indptr) * FREQUENT >= people)
        frequent = frequent[: FREQUENT_CELLS // people]
        row_of = np.full(right.shape[1], -1, dtype=np.int64)
        row_of[frequent] = np.arange(len(frequent))
        matrix = listed[:, frequent].T.toarray().astype(np.int32)
        return cls(Lists.of(left), Lists.of(listed), row_of, matrix)


@dataclass(frozen=True, slots=True)
class Sparse:
    """Few of many words, each with a whole number: CSR matrices [people, words] of SciPy.

    Sums stay below 2^31.
    """

    left: Any
    right: Any
    words: Words

    @classmethod
    def of(cls, left: Any, right: Any) -> "Sparse":
        """Return the product of two matrices."""
        return cls(left, right, Words.of(left, right))

    def pairs(self, first: Places, second: Places) -> Values:
        """Add up what pairs share."""
        return _sums_of_pairs(self.words, first, second)

    def block(self, rows: slice, columns: slice) -> Values:
        """Add up what a block shares."""
        return _sums_of_block(self.words, rows.start, rows.stop, columns.start, columns.stop)

    def take(self, first: Places, second: Places) -> "Sparse":
        """Return the same on some of the people."""
        return Sparse.of(self.left[first], self.right[second])

    def keys(self) -> None:
        """Seek nobody alike: what is sparse is cheap as it is."""


@dataclass(frozen=True, slots=True)
class Dense:
    """Vectors of whole numbers in float32 [people, dimensions], none longer than `LONGEST`.

    So no sum of products, nor any part of one (Cauchy-Schwarz), reaches 2^24: a matrix product in
    float32 is exact, whatever order and whatever fused instructions it is computed with.
    """

    left: npt.NDArray[np.float32]
    right: npt.NDArray[np.float32]

    LONGEST = 4095

    def pairs(self, first: Places, second: Places) -> Values:
        """Return the inner products of pairs."""
        products: Values = np.einsum("ij,ij->i", self.left[first], self.right[second])
        return products

    def block(self, rows: slice, columns: slice) -> Values:
        """Return the inner products of a block."""
        products: Values = self.left[rows] @ self.right[columns].T
        return products

    def take(self, first: Places, second: Places) -> "Dense":
        """Return the same on some of the people."""
        return Dense(self.left[first], self.right[second])

    def keys(self) -> None:
        """Seek nobody alike: hardly two texts are the same."""


def overlap(left: Sets, right: Sets) -> Product:
    """Return how many members the sets of two people have in common."""
    shared = {word for one in left for word in one} & {word for one in right for word in one}
    words = {word: place for place, word in enumerate(sorted_words([frozenset(shared)]))}
    if len(words) <= MOST_WORDS * WORD:
        return Bits(_bits(left, words), _bits(right, words))
    return Sparse.of(weighed(left, words), weighed(right, words))


def _bits(several: Sets, words: Mapping[Any, int]) -> Keys:
    rows, places = _members(several, words)
    found = np.zeros((len(several), max(1, -(-len(words) // WORD))), dtype=np.uint64)
    bits = np.uint64(1) << (places % WORD).astype(np.uint64)
    np.bitwise_or.at(found, (rows, places // WORD), bits)
    return found


def weighed(
    several: Sets, words: Mapping[Any, int], amounts: npt.NDArray[np.float64] | None = None
) -> Any:
    """Return sets as a CSR matrix [people, words], with what each word counts or else 1."""
    rows, places = _members(several, words)
    data = np.ones(len(places)) if amounts is None else amounts[places]
    shape = (len(several), max(1, len(words)))
    return sparse.csr_matrix((data, (rows, places)), shape=shape)


def _members(several: Sets, words: Mapping[Any, int]) -> tuple[Places, Places]:
    found = [(row, words[word]) for row, one in enumerate(several) for word in one if word in words]
    both = np.array(found, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


@dataclass(frozen=True, slots=True)
class Shared:
    """Which part of the smaller size two people share, from 0 to 1.

    Sizes are held as what one unit is of them: multiplying is faster than dividing.
    """

    product: Product
    left: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, product: Product, left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
    ) -> "Shared":
        """Return the measure of a product with the sizes of either side; 0 counts as 1."""
        return cls(product, 1 / np.maximum(1, left), 1 / np.maximum(1, right))

    def pairs(self, first: Places, second: Places) -> Values:
        """Return the parts of pairs."""
        sums = self.product.pairs(first, second)
        return _part_of_pairs(sums, self.left[first], self.right[second])

    def block(self, rows: slice, columns: slice) -> Values:
        """Return the parts of a block."""
        sums = self.product.block(rows, columns)
        return _part_of_block(sums, self.left[rows], self.right[columns])

    def take(self, first: Places, second: Places) -> "Shared":
        """Return the same on some of the people."""
        return Shared(self.product.take(first, second), self.left[first], self.right[second])

    def keys(self) -> tuple[Keys, Keys] | None:
        """Return the sizes and what is compared."""
        return _beside(self.product.keys(), self.left, self.right)


@dataclass(frozen=True, slots=True)
class TooFew:
    """Whether two people share less than a minimum; `unknown` where either has nothing to share."""

    product: Product
    left: Mask
    right: Mask
    minimum: int
    unknown: bool

    def pairs(self, first: Places, second: Places) -> Values:
        """Judge pairs."""
        return self._judged(
            self.product.pairs(first, second), self.left[first] & self.right[second]
        )

    def block(self, rows: slice, columns: slice) -> Values:
        """Judge a block."""
        known = self.left[rows, None] & self.right[None, columns]
        return self._judged(self.product.block(rows, columns), known)

    def _judged(self, sums: Values, known: Mask) -> Mask:
        too_few: Mask = sums < self.minimum
        return too_few | ~known if self.unknown else too_few & known

    def take(self, first: Places, second: Places) -> "TooFew":
        """Return the same on some of the people."""
        product = self.product.take(first, second)
        return TooFew(product, self.left[first], self.right[second], self.minimum, self.unknown)

    def keys(self) -> tuple[Keys, Keys] | None:
        """Return what is compared and whether it is known."""
        return _beside(self.product.keys(), self.left, self.right)


def _beside(
    keys: tuple[Keys, Keys] | None, left: npt.NDArray[Any], right: npt.NDArray[Any]
) -> tuple[Keys, Keys] | None:
    """Return the keys of a product with one more column on either side."""
    if keys is None:
        return None
    return np.hstack([_key((left,)), keys[0]]), np.hstack([_key((right,)), keys[1]])


# From what was said about two people by name.


@dataclass(frozen=True, slots=True)
class Named:
    """Values of named pairs, each once and in order; 0 for all others."""

    first: Places
    second: Places
    values: Values
    shape: tuple[int, int]

    @classmethod
    def of(
        cls, pairs: Mapping[tuple[int, int], Any], shape: tuple[int, int], dtype: type[np.generic]
    ) -> "Named":
        """Return the measure of some pairs of places."""
        order = sorted(pairs)
        places = np.array(order, dtype=np.int64).reshape(-1, 2)
        values = np.array([pairs[pair] for pair in order], dtype=dtype)
        return cls(places[:, 0], places[:, 1], values, shape)

    def revalued(self, values: Values) -> "Named":
        """Return the same pairs with other values."""
        return Named(self.first, self.second, values, self.shape)

    def pairs(self, first: Places, second: Places) -> Values:
        """Look pairs up."""
        known = self.first * self.shape[1] + self.second
        asked = first * self.shape[1] + second
        if not len(known):
            return np.zeros(len(asked), dtype=self.values.dtype)
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[place] == asked, self.values[place], self.values.dtype.type(0))

    def block(self, rows: slice, columns: slice) -> Values:
        """Return a block that is nearly all 0."""
        shape = rows.stop - rows.start, columns.stop - columns.start
        found = np.zeros(shape, dtype=self.values.dtype)
        inside, first, second = self.within(rows, columns)
        found[first, second] = self.values[inside]
        return found

    def within(self, rows: slice, columns: slice) -> tuple[Places, Places, Places]:
        """Return which of the pairs lie in a block, and where in it."""
        low, high = np.searchsorted(self.first, (rows.start, rows.stop))
        second = self.second[low:high]
        inside = low + np.flatnonzero((second >= columns.start) & (second < columns.stop))
        return inside, self.first[inside] - rows.start, self.second[inside] - columns.start

    def take(self, first: Places, second: Places) -> "Named":
        """Return the same on some of the people."""
        moved_first = _moved(self.shape[0], first)[self.first]
        moved_second = _moved(self.shape[1], second)[self.second]
        kept = np.flatnonzero((moved_first >= 0) & (moved_second >= 0))
        order = kept[np.lexsort((moved_second[kept], moved_first[kept]))]
        shape = (len(first), len(second))
        return Named(moved_first[order], moved_second[order], self.values[order], shape)

    def keys(self) -> None:
        """Seek nobody alike."""


def _moved(count: int, places: Places) -> Places:
    """Return where each of `count` people stands among `places`, -1 if nowhere."""
    found = np.full(count, -1, dtype=np.int64)
    found[places] = np.arange(len(places))
    return found


# Between equals.


@dataclass(frozen=True, slots=True)
class Mutual:
    """What two equals are to each other in both directions, as one value."""

    there: Measure
    back: Measure
    both: Callable[[Values, Values], Values]

    def pairs(self, first: Places, second: Places) -> Values:
        """Return the values of pairs."""
        return self.both(self.there.pairs(first, second), self.back.pairs(second, first))

    def block(self, rows: slice, columns: slice) -> Values:
        """Return the values of a block."""
        return self.both(self.there.block(rows, columns), self.back.block(columns, rows).T)

    def take(self, first: Places, second: Places) -> "Mutual":
        """Return the same on some of the people."""
        return Mutual(self.there.take(first, second), self.back.take(second, first), self.both)

    def keys(self) -> tuple[Keys, Keys] | None:
        """Return what makes people alike in either direction."""
        there, back = self.there.keys(), self.back.keys()
        if there is None or back is None:
            return None
        return np.hstack([there[0], back[1]]), np.hstack([there[1], back[0]])


def mean(there: Values, back: Values) -> Values:
    """Return the mean of two values."""
    return (there + back) / 2


def either(there: Values, back: Values) -> Values:
    """Return what holds in one direction or the other."""
    return there | back


# Compiled.


def warm() -> None:
    """Compile everything for every kind of array that it is called with."""
    people, everybody, sizes = np.zeros(1, dtype=np.int64), slice(0, 1), np.ones(1)
    bits, vectors = np.ones((1, 1), dtype=np.uint64), np.ones((1, 1), dtype=np.float32)
    words = sparse.csr_matrix(vectors)
    for product in (Bits(bits, bits), Sparse.of(words, words), Dense(vectors, vectors)):
        measure = Shared.of(product, sizes, sizes)
        measure.pairs(people, people)
        measure.block(everybody, everybody)


ONE, TWO, FOUR, LAST_BYTE = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
EVERY_2ND, EVERY_4TH = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
EVERY_8TH, EVERY_BYTE = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


@compiled
def _ones(word: np.uint64) -> np.int16:
    """Count the bits that are set: a pattern that compilers turn into one instruction."""
    word = word - ((word >> ONE) & EVERY_2ND)
    word = (word & EVERY_4TH) + ((word >> TWO) & EVERY_4TH)
    word = (word + (word >> FOUR)) & EVERY_8TH
    return np.int16((word * EVERY_BYTE) >> LAST_BYTE)


@compiled
def _shared_bits(left: Keys, right: Keys) -> npt.NDArray[np.int16]:
    shared = np.zeros((len(left), right.shape[1]), dtype=np.int16)
    for row in range(len(left)):
        for place in range(len(right)):
            word, words = left[row, place], right[place]
            if word:
                for column in range(len(words)):
                    shared[row, column] += _ones(word & words[column])
    return shared


@compiled
def _sums_of_block(words: Words, top: int, bottom: int, start: int, stop: int) -> Ints32:
    sums = np.zeros((bottom - top, stop - start), dtype=np.int32)
    mine, theirs = words.of_first, words.of_word
    for row in range(top, bottom):
        own = sums[row - top]
        for place in range(mine.starts[row], mine.starts[row + 1]):
            word, amount = mine.places[place], mine.amounts[place]
            if words.row_of[word] >= 0:
                known = words.frequent[words.row_of[word], start:stop]
                for column in range(len(own)):
                    own[column] += amount * known[column]
                continue
            low, high = theirs.starts[word], theirs.starts[word + 1]
            for entry in range(low + np.searchsorted(theirs.places[low:high], start), high):
                if theirs.places[entry] >= stop:
                    break
                own[theirs.places[entry] - start] += amount * theirs.amounts[entry]
    return sums


@compiled
def _sums_of_pairs(words: Words, first: Places, second: Places) -> Ints32:
    sums = np.zeros(len(first), dtype=np.int32)
    mine, theirs = words.of_first, words.of_word
    for pair in range(len(first)):
        for place in range(mine.starts[first[pair]], mine.starts[first[pair] + 1]):
            low, high = theirs.starts[mine.places[place]], theirs.starts[mine.places[place] + 1]
            entry = low + np.searchsorted(theirs.places[low:high], second[pair])
            if entry < high and theirs.places[entry] == second[pair]:
                sums[pair] += mine.amounts[place] * theirs.amounts[entry]
    return sums


@compiled
def _part(shared: float, left: float, right: float) -> float:
    return min(1.0, max(0.0, shared * max(left, right)))


@compiled
def _part_of_pairs(
    shared: Values, left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    parts = np.empty(len(shared))
    for pair in range(len(shared)):
        parts[pair] = _part(shared[pair], left[pair], right[pair])
    return parts


@compiled
def _part_of_block(
    shared: Values, left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    parts = np.empty(shared.shape)
    for row in range(shared.shape[0]):
        for column in range(shared.shape[1]):
            parts[row, column] = _part(shared[row, column], left[row], right[column])
    return parts
