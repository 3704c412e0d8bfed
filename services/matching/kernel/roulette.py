"""Roulette: random pairs of people who have not met, or not often, or not for long.

A draw is a maximum-weight matching (Edmonds 1965) whose weights say, in this order: as many pairs
as can be, the least repetition, and then chance, which the seed fixes. Where the number is odd,
nobody is one more whom to meet, so that all sit out in turns, or the odd one joins a pair.

Pairs that are drawn one round at a time can leave a rest that no round without repetition can
use: of eight people after five rounds, circles of three and five. So where few are left to meet,
a draw is taken only if rounds were found into which its rest divides (a one-factorization, as in
the tournaments of Kirkman 1847), else it is drawn again.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.matching.kernel import peers
from services.matching.kernel.compiling import Ints, Mask
from services.matching.kernel.terms import Kind, Step, Why, no_pairs, quiet

NOBODY = -1
_RECENT = 64
_MOST_TIMES = 255
_DRAWS = 16
_HORIZON = 7
_LOOKED_AHEAD = 64
_TRIES = 4
_LOOKS = 60
_STRIDE = 1_000_003
_CIRCLES = 2

type Names = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class History:
    """Who met whom (n x n, symmetric), and who sat out.

    `times` is how often, `ago` how many draws ago the last time was: 1 is the last draw, 0 never.
    `alone` is how often each had nobody.
    """

    times: Ints
    ago: Ints
    alone: Ints


@dataclass(frozen=True, slots=True)
class Draw:
    """The group of each person, or -1, numbered in order of their first.

    `cost` tells how much is repeated: 64 for each time that two of a group met before, more the
    fresher the last time is, and for each time that who sits out did before. No draw of as many
    groups goes below `bound`. `why` tells of those without a group why.
    """

    group: Ints
    cost: int
    bound: int
    kind: Kind
    why: Ints


@dataclass(frozen=True, slots=True)
class _Wheel:
    """What is drawn from: costs, who may meet, and names that chance goes by."""

    cost: Ints
    allowed: Mask
    names: Names
    seed: int


def draw_pairs(
    allowed: Mask,
    history: History,
    *,
    seed: int,
    names: Names | None = None,
    locks: Ints | None = None,
    step: Step = quiet,
) -> Draw:
    """Return pairs; where the number is odd, whoever sat out least sits out.

    `allowed` (n x n, symmetric) is who may meet whom. `names` make chance independent of the
    order of people: a number for each, always the same. `locks` are pairs that are decided; one
    that must not be raises `ImpossibleLockError`.
    """
    wheel = _wheel(allowed, history, seed, names)
    return _drawn(wheel, _cost_of_times(history.alone), locks, step)


def draw_with_trio(
    allowed: Mask,
    history: History,
    *,
    seed: int,
    names: Names | None = None,
    locks: Ints | None = None,
    step: Step = quiet,
) -> Draw:
    """Return pairs, and where the number is odd a group of three if any may be."""
    wheel = _wheel(allowed, history, seed, names)
    # Whoever joins two others repeats no less than with the two whom they met least.
    joining = np.sort(np.where(wheel.allowed, wheel.cost, _MOST_TIMES * _RECENT), axis=1)
    alone = joining[:, :2].sum(axis=1)
    return _joined(wheel, _drawn(wheel, alone, locks, step), alone)


def warm() -> None:
    """Compile everything, or load what was compiled before."""
    peers.warm()


def _wheel(allowed: Mask, history: History, seed: int, names: Names | None) -> _Wheel:
    given = np.arange(len(allowed), dtype=np.uint64) if names is None else names
    fresh = np.where(history.ago > 0, np.maximum(0, _RECENT - 1 - history.ago), 0)
    return _Wheel(
        cost=_cost_of_times(history.times) + fresh,
        allowed=allowed & ~np.eye(len(allowed), dtype=bool),
        names=given,
        seed=seed,
    )


def _cost_of_times(times: Ints) -> Ints:
    return np.minimum(times, _MOST_TIMES - 1) * _RECENT


def _drawn(wheel: _Wheel, alone: Ints, locks: Ints | None, step: Step) -> Draw:
    people = len(wheel.allowed)
    fixed = no_pairs() if locks is None else np.sort(locks, axis=1)
    everybody = np.ones(people, dtype=bool)
    left = peers.open_after(everybody, fixed, wheel.allowed[fixed[:, 0], fixed[:, 1]])
    spun = replace(wheel, allowed=wheel.allowed & np.logical_and.outer(left, left))
    # Somebody whom nobody may meet is out of the game, and makes no number odd.
    plays = spun.allowed.any(axis=1)
    if plays.sum() % 2:
        spun = _with_nobody(spun, plays, alone)
    found, cost, bound = _spin(spun, step)
    met = found[(found < people).all(axis=1)]
    locked = int(wheel.cost[fixed[:, 0], fixed[:, 1]].sum())
    pairs = np.concatenate((fixed, met))
    why = np.full(people, Why.OTHERS_CAME_FIRST, dtype=np.int64)
    if 2 * len(met) + 1 == plays.sum():
        why[:] = Why.ODD_ONE_OUT
    why[left & ~plays] = Why.NOBODY_ALLOWED
    why[pairs.ravel()] = Why.PLACED
    return Draw(
        group=_groups(pairs, people),
        cost=cost + locked,
        bound=bound + locked,
        kind=Kind.OPTIMAL if cost == bound else Kind.BOUND,
        why=why,
    )


def _with_nobody(wheel: _Wheel, plays: Mask, alone: Ints) -> _Wheel:
    """Return the wheel with one more, whom to meet is to sit out."""
    return _Wheel(
        cost=np.pad(wheel.cost, (0, 1)) + _edge(alone),
        allowed=np.pad(wheel.allowed, (0, 1)) | _edge(plays),
        names=np.append(wheel.names, np.uint64(2**64 - 1)),
        seed=wheel.seed,
    )


def _edge[Kept: np.generic](values: npt.NDArray[Kept]) -> npt.NDArray[Kept]:
    """Return a square of nothing but its last row and column."""
    square = np.zeros((len(values) + 1, len(values) + 1), dtype=values.dtype)
    square[-1, :-1] = square[:-1, -1] = values
    return square


def _groups(pairs: Ints, people: int) -> Ints:
    group = np.full(people, NOBODY)
    for number, two in enumerate(pairs[np.argsort(pairs[:, 0])]):
        group[two] = number
    return group


def _joined(wheel: _Wheel, draw: Draw, alone: Ints) -> Draw:
    """Let the odd one join the pair with whom least is repeated."""
    odd = np.flatnonzero(draw.why == Why.ODD_ONE_OUT)
    if not len(odd):
        return draw
    one = int(odd[0])
    pairs = [np.flatnonzero(draw.group == group) for group in range(draw.group.max() + 1)]
    open_pairs = [two for two in pairs if wheel.allowed[one, two].all()]
    if not open_pairs:
        return replace(draw, cost=draw.cost - int(alone[one]), bound=0, kind=Kind.HEURISTIC)
    chance = _chance(wheel.names, wheel.seed, 16)
    two = min(open_pairs, key=lambda two: tuple(sum(m[one, two]) for m in (wheel.cost, chance)))
    group, why = draw.group.copy(), draw.why.copy()
    group[one], why[one] = group[two[0]], Why.PLACED
    cost = draw.cost - int(alone[one]) + int(wheel.cost[one, two].sum())
    kind = Kind.OPTIMAL if cost == draw.bound else Kind.BOUND
    return replace(draw, group=group, why=why, cost=cost, kind=kind)


# Drawing.


def _spin(wheel: _Wheel, step: Step) -> tuple[Ints, int, int]:
    """Return pairs, what they repeat, and what any must; drawn again while the rest is no good."""
    first = _matched(wheel, wheel.seed)
    if not len(first[0]) or len(wheel.allowed) > _LOOKED_AHEAD:
        return first
    times = wheel.cost // _RECENT
    fresh = wheel.allowed & (times == times[wheel.allowed].min())
    for draw in range(_DRAWS):
        step(draw, _DRAWS)
        found = _matched(wheel, wheel.seed + draw * _STRIDE)
        if _divides(_without(fresh, found[0]), wheel, [_LOOKS]):
            return found
    return first


def _matched(wheel: _Wheel, seed: int) -> tuple[Ints, int, int]:
    """Return as many pairs as can be that repeat least, by chance where that is equal."""
    people = len(wheel.allowed)
    # All sums stay below 2 ** 62, so that nothing is rounded or overflows.
    bits = min(24, 46 - 3 * people.bit_length())
    scale = (people // 2 + 1) << bits
    worst = int(wheel.cost.max(initial=0))
    points = (worst - wheel.cost) * scale + _chance(wheel.names, seed, bits)
    weights = peers.weights_for_most_pairs(points, wheel.allowed)
    found = peers.pair(weights)
    one, other = found.pairs[:, 0], found.pairs[:, 1]
    cost = int(wheel.cost[one, other].sum())
    least = int((weights - points)[one, other].sum()) + len(one) * worst * scale - found.bound
    return found.pairs, cost, cost if found.kind is Kind.OPTIMAL else max(0, least // scale)


def _divides(rest: Mask, wheel: _Wheel, looks: list[int]) -> bool:
    """Tell whether rounds were found that use up who is left to meet whom, or there are many left.

    Each round must take one of everybody who has most left.
    """
    degree = rest.sum(axis=1)
    most = int(degree.max(initial=0))
    if most <= 1 or most > _HORIZON:
        return True
    needed = degree == most
    # Circles divide one way or not at all.
    for _ in range(1 if most == _CIRCLES else _TRIES):
        looks[0] -= 1
        if looks[0] < 0:
            return False
        chance = _chance(wheel.names, wheel.seed + looks[0], 20)
        needs = needed[:, None].astype(np.int64) + needed
        weights = np.where(rest, chance + (needs << 32) + 1, -1)
        pairs = peers.pair(weights).pairs
        if needed.sum() == needed[pairs.ravel()].sum() and _divides(
            _without(rest, pairs), wheel, looks
        ):
            return True
    return False


def _without(fresh: Mask, pairs: Ints) -> Mask:
    rest = fresh.copy()
    rest[pairs[:, 0], pairs[:, 1]] = rest[pairs[:, 1], pairs[:, 0]] = False
    return rest


def _chance(names: Names, seed: int, bits: int) -> Ints:
    """Return a number of so many bits for each two, the same whichever comes first."""
    low, high = np.minimum.outer(names, names), np.maximum.outer(names, names)
    start = _mixed(np.full(low.shape, seed % 2**64, dtype=np.uint64))
    return (_mixed(_mixed(start ^ low) ^ high) >> np.uint64(64 - bits)).astype(np.int64)


def _mixed(values: Names) -> Names:
    """Return values that look like chance: the finish of SplitMix (Steele, Lea & Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
