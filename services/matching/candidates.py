"""The pairs worth looking at: everybody's best on either side, out of all there are."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.matching.blocks import APART, COLUMNS, ROWS, Blocks, Scores, slices
from services.matching.board import Board, Step
from services.matching.kernel.compiling import compiled
from services.matching.measures import Mask, Places

type Ints = npt.NDArray[np.int64]
type Columns = npt.NDArray[np.int32]
type Pairs = tuple[Ints, Columns]
type Scored = tuple[Ints, Columns, Scores]

MANY, MORE = 64, 128
SLACK = 1.1
"""Above so many places for each who is to be placed, few candidates suffice."""

# A candidate is one number, so that the best is the largest: its score, then how early the other
# stands. Fewer than 2^32 people stand on a side, and a score is below 2^15.
SHIFT, SCORE_BITS = 32, 15
LAST = 2**SHIFT - 1
EMPTY = -1
CHUNK = 32
"""So many scores are compared at once; nearly always none of them is good enough."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs by row, in order: those of row `i` lie from `starts[i]` to `starts[i + 1]`.

    For n rows, m columns and e pairs: `starts` int64[n + 1], `columns` int32[e], ascending in each
    row, and `scores` int16[e] from 0 to `HIGHEST`. No pair that was left out scores above `rest_*`,
    int64[n] and [m], of either of its two; -1 where nothing was left out.
    """

    starts: Ints
    columns: Columns
    scores: Scores
    rest_first: Ints
    rest_second: Ints

    @property
    def lists(self) -> Pairs:
        """Where the pairs of each row start, and the columns of all pairs."""
        return self.starts, self.columns

    @property
    def rows(self) -> Ints:
        """The row of every pair."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def places(self, first: Places, second: Places) -> Places:
        """Return where some pairs stand, -1 for each that is no candidate."""
        return _places(self.starts, self.columns, first, second)

    def with_pairs(self, first: Places, second: Places, scores: Ints) -> "Candidates":
        """Return the candidates and some more, which must be none of them."""
        order = np.lexsort((second, first))
        starts, columns, more = _merged(
            (self.starts, self.columns, self.scores),
            (
                _starts(first, len(self.starts) - 1),
                second[order].astype(np.int32),
                scores[order].astype(np.int16),
            ),
        )
        return replace(self, starts=starts, columns=columns, scores=more)


def how_many(board: Board) -> int:
    """Return how many candidates each has: more where places are short, unless a policy says."""
    wanted = board.problem.policy.limits.max_candidates
    if wanted is not None:
        return wanted
    places = sorted((int(board.first.capacity.sum()), int(board.second.capacity.sum())))
    return MANY if places[1] >= SLACK * places[0] else MORE


def find(
    blocks: Blocks, most: int, named: tuple[Places, Places, Ints], *, step: Step
) -> Candidates:
    """Return the best `most` of everybody on either side, and the named pairs with their scores.

    Of equal scores the one who stands earlier is better. Named pairs, as rows, columns and scores,
    int64[k] each, must be allowed ones. `step` may raise to end the work. Every block is worked
    out once and read twice, by rows and by columns; everybody keeps a heap of their best.
    """
    height, width = blocks.shape
    first, second = _Best.of(height, most, of=width), _Best.of(width, most, of=height)
    for rows in slices(height, ROWS):
        step("candidates", rows.start, height)
        for columns in slices(width, COLUMNS):
            scores = blocks.block(rows, columns)
            _count(scores, first.allowed[rows], second.allowed[columns])
            _offer_rows(scores, columns.start, first.heaps[rows], first.least[rows])
            _offer_columns(scores, rows.start, second.heaps[columns], second.least[columns])
    starts, columns_of, scores_of = _union(first, second, named)
    return Candidates(
        starts=starts,
        columns=columns_of,
        scores=scores_of,
        rest_first=first.rest,
        rest_second=second.rest,
    )


@dataclass(frozen=True, slots=True)
class _Best:
    """The best of everybody so far, as heaps whose first is the worst [people, most or one more].

    `least` is the score that others must exceed, `allowed` how many no rule keeps from somebody.
    """

    heaps: Ints
    most: int
    least: Scores
    allowed: Ints

    @classmethod
    def of(cls, count: int, wanted: int, *, of: int) -> "_Best":
        most = max(1, min(wanted, of))
        heaps = np.full((count, most | 1), EMPTY, dtype=np.int64)
        # Of odd length, so that who has a child has two; what is added is never the worst.
        heaps[:, most:] = np.iinfo(np.int64).max
        least = np.full(count, APART, dtype=np.int16)
        return cls(heaps, most, least, np.zeros(count, dtype=np.int64))

    @property
    def rest(self) -> Ints:
        """The worst of the best of everybody who has others beside."""
        return np.where(self.allowed > self.most, self.least, APART).astype(np.int64)


def _union(first: _Best, second: _Best, named: tuple[Places, Places, Ints]) -> Scored:
    """Return every pair once and in order."""
    height, width = len(first.heaps), max(1, len(second.heaps))
    entries = [int((one.heaps[:, : one.most] != EMPTY).sum()) for one in (first, second)]
    packed = np.empty(sum(entries) + len(named[0]), dtype=np.int64)
    # A place in the matrix and its score are sorted as one number: several times as fast.
    _pack(first.heaps, first.most, width, 1, packed)
    _pack(second.heaps, second.most, 1, width, packed[entries[0] :])
    packed[sum(entries) :] = (named[0] * width + named[1]) << SCORE_BITS | named[2]
    packed.sort()
    return _unpacked(packed, height, width)


def _starts(rows: Ints, count: int) -> Ints:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]).astype(np.int64)


def kept_apart(board: Board, places: Places, *, is_first: bool) -> Ints:
    """Count for each hard rule how many with a place it keeps from these people [rules, people].

    Whom several rules keep apart counts for each. A word may stand there several times, and what is
    told is the word: whom an earlier rule of it keeps apart is not counted again. Nobody is one of
    those others to themselves, unless for the rule that says so.
    """
    side, across = (board.first, board.second) if is_first else (board.second, board.first)
    others = np.flatnonzero(across.capacity > 0)
    who, whom = np.array(side.rows)[places], np.array(across.rows)[others]
    found = np.zeros((len(board.hard), len(places)), dtype=np.int64)
    times = Counter(one.rule for one in board.hard)
    for some in slices(len(places), ROWS):
        here, size = places[some], some.stop - some.start
        sides = (here, others) if is_first else (others, here)
        sizes = (size, len(others)) if is_first else (len(others), size)
        is_other = np.not_equal.outer(who[some], whom)
        told: dict[str, Mask] = {}
        for counts, one in zip(found, board.hard, strict=True):
            values = one.apart.take(*sides).block(*(slice(0, count) for count in sizes))
            block: Mask = (values if is_first else values.T).astype(bool, copy=False)
            if one.rule != "not_oneself":
                block = block & is_other
            if times[one.rule] > 1:
                before = told.get(one.rule, np.zeros_like(block))
                told[one.rule], block = before | block, block & ~before
            counts[some] = block.sum(axis=1)
    return found


def count_allowed(blocks: Blocks, has_room: Mask, *, is_first: bool) -> Ints:
    """Count for each of one side those with room whom no rule keeps from them."""
    height, width = blocks.shape
    found = np.zeros(height if is_first else width, dtype=np.int64)
    for rows in slices(height, ROWS):
        for columns in slices(width, COLUMNS):
            is_allowed = blocks.block(rows, columns) != APART
            own, across = (rows, columns) if is_first else (columns, rows)
            of_each = is_allowed if is_first else is_allowed.T
            found[own] += of_each[:, has_room[across]].sum(axis=1)
    return found


# Compiled.


def warm() -> None:
    """Compile everything."""
    nobody = np.zeros(0, dtype=np.int64)
    made = find(
        Blocks((1, 1), []), 1, (nobody, nobody, nobody), step=lambda _phase, _done, _total: None
    )
    made.with_pairs(nobody, nobody, nobody).places(nobody, nobody)


@compiled
def _count(scores: Scores, first: Ints, second: Ints) -> None:
    for row in range(scores.shape[0]):
        count = 0
        for column in range(scores.shape[1]):
            is_allowed = scores[row, column] >= 0
            count += is_allowed
            second[column] += is_allowed
        first[row] += count


@compiled
def _pack(heaps: Ints, most: int, of_person: int, of_other: int, packed: Ints) -> None:
    """Enter the pairs of heaps as places in the matrix, each with its score."""
    count = 0
    for person in range(len(heaps)):
        for candidate in heaps[person, :most]:
            if candidate != EMPTY:
                place = person * of_person + (LAST - (candidate & LAST)) * of_other
                packed[count] = place << SCORE_BITS | candidate >> SHIFT
                count += 1


@compiled
def _unpacked(packed: Ints, height: int, width: int) -> Scored:
    """Return sorted pairs by row, each once; what stands in for them is overwritten."""
    starts, count = np.zeros(height + 1, dtype=np.int64), 0
    for pair in packed:
        if not count or packed[count - 1] != pair:
            packed[count] = pair
            count += 1
    columns, scores = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int16)
    row = 0
    for entry in range(count):
        place = packed[entry] >> SCORE_BITS
        while place >= (row + 1) * width:
            row += 1
            starts[row] = entry
        columns[entry] = place - row * width
        scores[entry] = packed[entry] & (2**SCORE_BITS - 1)
    starts[row + 1 :] = count
    return starts, columns, scores


@compiled
def _places(starts: Ints, columns: Columns, first: Places, second: Places) -> Places:
    found = np.full(len(first), -1, dtype=np.int64)
    for pair in range(len(first)):
        low, end = starts[first[pair]], starts[first[pair] + 1]
        high = end
        while low < high:
            middle = (low + high) // 2
            if columns[middle] < second[pair]:
                low = middle + 1
            else:
                high = middle
        if low < end and columns[low] == second[pair]:
            found[pair] = low
    return found


@compiled
def _merged(some: Scored, others: Scored) -> Scored:
    """Return the pairs of both, which have none in common."""
    count = len(some[1]) + len(others[1])
    columns, scores = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int16)
    for row in range(len(some[0]) - 1):
        one, end = some[0][row], some[0][row + 1]
        other, other_end = others[0][row], others[0][row + 1]
        while one < end or other < other_end:
            if other == other_end or (one < end and some[1][one] < others[1][other]):
                columns[one + other], scores[one + other] = some[1][one], some[2][one]
                one += 1
            else:
                columns[one + other], scores[one + other] = others[1][other], others[2][other]
                other += 1
    return some[0] + others[0], columns, scores


@compiled
def _replace_worst(heap: Ints, score: int, place: int) -> None:
    """Put a candidate in the place of the first, and move it to where it belongs.

    Unsigned places and no branch but the last: half the time of the usual loop.
    """
    candidate = (np.int64(score) << SHIFT) | (LAST - place)
    at, one, last = np.uint64(0), np.uint64(1), np.uint64(len(heap) - 1)
    while True:
        child = at + at + one
        if child >= last:
            break
        child += np.uint64(heap[child + one] < heap[child])
        if heap[child] >= candidate:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = candidate


@compiled
def _offer_rows(scores: Scores, start: int, heaps: Ints, least: Scores) -> None:
    """Let every row keep the best of a block; columns come in order, so a tie changes nothing."""
    for row in range(scores.shape[0]):
        own, enough = scores[row], least[row]
        for low in range(0, len(own), CHUNK):
            high, is_any = min(low + CHUNK, len(own)), False
            for column in range(low, high):
                is_any |= own[column] > enough
            if is_any:
                for column in range(low, high):
                    if own[column] > enough:
                        _replace_worst(heaps[row], own[column], start + column)
                        enough = least[row] = heaps[row, 0] >> SHIFT


@compiled
def _offer_columns(scores: Scores, start: int, heaps: Ints, least: Scores) -> None:
    """Let every column keep the best of a block; rows come in order as well."""
    # Few columns at a time, whose heaps stay in the cache.
    for low in range(0, scores.shape[1], CHUNK):
        high = min(low + CHUNK, scores.shape[1])
        for row in range(scores.shape[0]):
            own, is_any = scores[row], False
            for column in range(low, high):
                is_any |= own[column] > least[column]
            if is_any:
                for column in range(low, high):
                    if own[column] > least[column]:
                        _replace_worst(heaps[column], own[column], start + row)
                        least[column] = heaps[column, 0] >> SHIFT
