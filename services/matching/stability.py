"""Whom everybody would rather have, choices in which no two would both rather change, and proof."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from services.matching import candidates
from services.matching.blocks import COLUMNS, ROWS, Scores, slices
from services.matching.board import Step
from services.matching.candidates import Candidates, Ints
from services.matching.decision import Decision, Open
from services.matching.kernel import stable
from services.matching.measures import Named, Places
from services.matching.taken import Taken, nobody
from shared.schemas.matching import (
    Certificate,
    CertificateKind,
    Mark,
    Objective,
    Preferences,
)

ROUNDS = 50
WHOLE_CELLS = 4_000_000
"""All pairs of a pool of at most so many are asked at once."""

RANKED = 10**9
MARKED: Mapping[Mark, int] = MappingProxyType(
    {Mark.FAVORITE: 10**8, Mark.YES: 10**8, Mark.MAYBE: 0}
)

METHOD = "deferred acceptance"
GREEDY = "most wanted pairs first"


@dataclass(frozen=True, slots=True)
class Wishes:
    """How much everybody wants somebody: the score of a pair, and what is added to some.

    What was ranked comes before what was marked, and that before what only scores.
    """

    first: Named
    second: Named

    @classmethod
    def of(cls, open_: Open) -> "Wishes":
        """Return what both sides of a problem said, and the bonus of those who are together."""
        board = open_.board
        staying = dict.fromkeys(open_.current, open_.bonus) if open_.bonus else {}
        said = _said(board.problem.preferences)
        first, second = dict(staying), dict(staying)
        for side, others, more, is_back in (
            (board.first.place, board.second.place, first, False),
            (board.second.place, board.first.place, second, True),
        ):
            for (by, about), extra in said.items():
                if by in side and about in others:
                    pair = (side[by], others[about])
                    pair = pair[::-1] if is_back else pair
                    more[pair] = more.get(pair, 0) + extra
        return cls(*(Named.of(more, board.shape, np.int64) for more in (first, second)))

    def of_pairs(self, first: Places, second: Places, scores: Ints) -> tuple[Ints, Ints]:
        """Return how much either of each pair wants the other."""
        return scores + self.first.pairs(first, second), scores + self.second.pairs(first, second)


def _said(preferences: Preferences) -> dict[tuple[str, str], int]:
    ranks = preferences.rank or [None] * len(preferences.by)
    found: dict[tuple[str, str], int] = {}
    rows = zip(preferences.by, preferences.about, preferences.mark, ranks, strict=True)
    for by, about, mark, rank in rows:
        extra = MARKED.get(mark, 0)
        if rank and mark in MARKED:
            extra += RANKED * (1001 - rank)
        found[by, about] = found.get((by, about), 0) + extra
    return found


def decide(open_: Open, *, step: Step) -> Decision:
    """Return the stable choice that is best for the first side, who ask.

    Those who are asked are everybody's best and whoever was named; where two were left out who
    would rather have each other, they are added, until there are none.
    """
    wishes = Wishes.of(open_)
    found = asked = _asked(open_, wishes, step)
    taken, blocking = nobody(open_.board.shape), nobody(open_.board.shape)
    for _ in range(ROUNDS):
        taken = _deferred(open_, wishes, asked, step)
        blocking = blocking_pairs(open_, wishes, taken, found, step=step)
        if not len(blocking):
            break
        # None of them was asked: of those who were, no two would rather have each other.
        pairs = blocking.first, blocking.second
        asked = asked.with_pairs(*pairs, open_.board.scores(*pairs))
    said = certificate(open_, taken, method=METHOD, blocking=len(blocking))
    return Decision.of(open_, taken, said, found)


def certificate(open_: Open, taken: Taken, *, method: str, blocking: int) -> Certificate:
    """Say that nobody would rather change, or that some would."""
    pairs = taken.once() if open_.board.is_peer else taken
    values = open_.board.scores(pairs.first, pairs.second)
    values = values + open_.current.holds(pairs.first, pairs.second) * open_.bonus
    return Certificate(
        kind=CertificateKind.HEURISTIC if blocking else CertificateKind.OPTIMAL,
        objective=Objective.STABLE,
        primal=int(values.sum()),
        dual=None,
        gap=None,
        method=method,
    )


def _asked(open_: Open, wishes: Wishes, step: Step) -> Candidates:
    """Return the pairs that are asked at first."""
    shape = open_.board.shape
    most = max(shape) if shape[0] * shape[1] <= WHOLE_CELLS else candidates.MANY
    named = np.concatenate([wishes.first.first, wishes.second.first])
    about = np.concatenate([wishes.first.second, wishes.second.second])
    able = Taken.of(named, about, shape).without(open_.locked)
    able = able.among(open_.board.allowed(able.first, able.second))
    scores = open_.board.scores(able.first, able.second)
    return candidates.find(open_.blocks, most, (able.first, able.second, scores), step=step)


def _deferred(open_: Open, wishes: Wishes, asked: Candidates, step: Step) -> Taken:
    pairs = np.stack([asked.rows, asked.columns], axis=1)
    first, second = wishes.of_pairs(pairs[:, 0], pairs[:, 1], asked.scores.astype(np.int64))
    market = stable.from_edges(open_.board.shape, pairs, first, second)
    found = stable.defer(
        market, open_.first, open_.second, step=lambda done, total: step("solve", done, total)
    ).pairs
    return Taken.of(found[:, 0], found[:, 1], open_.board.shape)


def blocking_pairs(
    open_: Open, wishes: Wishes, taken: Taken, found: Candidates | None, *, step: Step
) -> Taken:
    """Return the pairs that would both rather have each other, out of all there are.

    Locked pairs are neither among them nor in question. Of equals each stands in either row. What
    is known of candidates spares most of the work: no pair that was left out scores above `rest`
    of either of its two, and whoever holds better than that would not change for one. What was said
    of somebody only adds to scores, so pairs of which nothing was said are judged by those alone.
    """
    least = _least_wanted(open_, wishes, taken)
    said = _said_of(open_, wishes)
    wanted = wishes.of_pairs(said.first, said.second, open_.board.scores(said.first, said.second))
    blocking = said.among((wanted[0] > least[0][said.first]) & (wanted[1] > least[1][said.second]))
    # Nobody is wanted more than any score could be: that is what such a one holds.
    most = np.iinfo(np.int16).max
    by_score = (
        np.minimum(least[0], most).astype(np.int16),
        np.minimum(least[1], most).astype(np.int16),
    )
    if found is not None:
        blocking = blocking.both(_inside(open_, found, by_score))
    return blocking.both(_outside(open_, found, by_score, step)).without(taken)


def _said_of(open_: Open, wishes: Wishes) -> Taken:
    """Return the pairs that somebody said something about, of those that may be."""
    shape = open_.board.shape
    named = [Taken.of(one.first, one.second, shape) for one in (wishes.first, wishes.second)]
    said = named[0].both(named[1]).without(open_.locked)
    return said.among(open_.board.allowed(said.first, said.second))


def _inside(open_: Open, found: Candidates, least: tuple[Scores, Scores]) -> Taken:
    """Return the candidates that would rather have each other by their scores alone."""
    own = np.repeat(least[0], np.diff(found.starts))
    places = np.flatnonzero((found.scores > own) & (found.scores > least[1][found.columns]))
    rows = np.searchsorted(found.starts, places, side="right") - 1
    return Taken.of(rows, found.columns[places].astype(np.int64), open_.board.shape)


def _outside(
    open_: Open, found: Candidates | None, least: tuple[Scores, Scores], step: Step
) -> Taken:
    """Return the pairs that would rather have each other by their scores alone.

    Some of them may be candidates, but not all that are.
    """
    height, width = open_.board.shape
    rows, columns = np.arange(height), np.arange(width)
    if found is not None:
        rows = np.flatnonzero(found.rest_first > least[0])
        columns = np.flatnonzero(found.rest_second > least[1])
    blocks = open_.blocks.take(rows, columns)
    first, second = least[0][rows], least[1][columns]
    ones, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for some in slices(len(rows), ROWS):
        step("stability", some.start, len(rows))
        for across in slices(len(columns), COLUMNS):
            scores = blocks.block(some, across)
            is_blocking = (scores > first[some, None]) & (scores > second[None, across])
            one, other = np.nonzero(is_blocking)
            ones.append(rows[one + some.start])
            others.append(columns[other + across.start])
    return Taken.of(np.concatenate(ones), np.concatenate(others), (height, width))


def _least_wanted(open_: Open, wishes: Wishes, taken: Taken) -> tuple[Ints, Ints]:
    """Return what each would have to be offered more than: the worst they hold, or nothing."""
    scores = open_.board.scores(taken.first, taken.second)
    found = []
    for capacity, places, wanted in zip(
        (open_.first, open_.second),
        (taken.first, taken.second),
        wishes.of_pairs(taken.first, taken.second, scores),
        strict=True,
    ):
        worst = np.full(len(capacity), np.iinfo(np.int64).max)
        np.minimum.at(worst, places, wanted)
        has_room = np.bincount(places, minlength=len(capacity)) < capacity
        found.append(np.where(has_room, -1, worst))
    return found[0], found[1]
