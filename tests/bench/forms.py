"""The forms of matching against what others offer for the same work: rows for `bench matching`.

Ratios are taken in one run on identical work, and totals are held against each other. Times are
CPU times of this process, as both sides use one thread; CP-SAT has two, and a limit by the clock. A
peer that is not installed is named as skipped. `python -m tests.bench.forms [--json]` shows these
rows alone.
"""

import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from services.matching.kernel import circles, flash, peers, roulette, stable
from services.matching.kernel.circles import SHARES, Circles, Effort, Facilitators, People, Sizes
from services.matching.kernel.compiling import Ints
from services.matching.kernel.flash import Side
from services.matching.kernel.stable import Lists
from tests.bench import report
from tests.bench.report import Figure

ROUNDS = 5
SEED = 1
CP_SAT_SECONDS = 40
GROUND = 1000
OF_A_CIRCLE = 8
OTHERS = OF_A_CIRCLE - 1
OF_A_TEAM = 2
SIMILAR = 8
QUICK = Effort(rounds=24, moves=15)


class SkippedError(ImportError):
    """The peer is not installed; the message is its name."""


def peer_of(module: str) -> Any:
    """Return a module of a peer, or say that it is skipped."""
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise SkippedError(module) from missing


def seconds(work: Callable[[], object], times: int = ROUNDS) -> float:
    """Return the median of the CPU seconds that a piece of work takes."""
    spent = []
    for _ in range(times):
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return statistics.median(spent)


def at_least(work: str, ours: float, peer: float, bar: float) -> Figure:
    """Return how many times faster ours is, both in milliseconds."""
    ratio = peer / ours
    return Figure(
        f"{work}, ms",
        round(ours * 1e3, 4),
        round(peer * 1e3, 2),
        round(ratio, 1),
        f">= {bar:g}x",
        ratio >= bar,
    )


def at_most(work: str, ours: float, bar: float) -> Figure:
    """Return a figure of our own that has a limit."""
    return Figure(work, round(ours, 5), None, None, f"<= {bar:g}", ours <= bar)


# Ranked lists.


def ranked_lists(
    chance: np.random.Generator, residents: int, hospitals: int
) -> list[list[list[int]]]:
    return [
        [chance.permutation(hospitals).tolist() for _ in range(residents)],
        [chance.permutation(residents).tolist() for _ in range(hospitals)],
    ]


def as_lists(ranked: list[list[int]]) -> Lists:
    sizes = np.array([0, *map(len, ranked)])
    return Lists(np.cumsum(sizes), np.concatenate(ranked).astype(np.int32))


def stable_rows() -> list[Figure]:
    """Deferred acceptance, 200 x 80 with complete lists; only the peer's solving is timed."""
    games = peer_of("matching.games")
    listed, ranked = ranked_lists(np.random.default_rng(SEED), 200, 80)
    proposers, reviewers = as_lists(listed), as_lists(ranked)
    places, seats = np.ones(200, dtype=np.int64), np.full(80, 3)

    def ours() -> stable.Stable:
        return stable.defer(stable.from_lists(proposers, reviewers), places, seats)

    spent, solved = [], None
    for _ in range(ROUNDS):
        game = games.HospitalResident.create_from_dictionaries(
            {f"r{one}": [f"h{other}" for other in ones] for one, ones in enumerate(listed)},
            {f"h{other}": [f"r{one}" for one in ones] for other, ones in enumerate(ranked)},
            {f"h{other}": 3 for other in range(80)},
        )
        before = time.process_time()
        solved = game.solve()
        spent.append(time.process_time() - before)
    pairs = {
        (int(one.name[1:]), int(hospital.name[1:]))
        for hospital, ones in (solved or {}).items()
        for one in ones
    }
    if pairs != {tuple(pair) for pair in ours().pairs.tolist()}:
        raise AssertionError("the two do not agree")
    work = "deferred acceptance 200 x 80, lists to pairs, against matching"
    return [at_least(work, seconds(ours, 200), statistics.median(spent), 300)]


def large_stable_rows() -> list[Figure]:
    """Deferred acceptance where everybody lists 400 of 4,000."""
    chance = np.random.default_rng(SEED)
    residents, hospitals, listed = 10_000, 4_000, 400
    others = np.argpartition(chance.random((residents, hospitals)), listed, axis=1)[:, :listed]
    pairs = np.stack((np.repeat(np.arange(residents), listed), others.ravel()), axis=1)
    wishes = chance.integers(0, 10_000, (2, len(pairs)))
    places, seats = np.ones(residents, dtype=np.int64), np.full(hospitals, 2)

    def ours() -> stable.Stable:
        market = stable.from_edges((residents, hospitals), pairs, *wishes)
        return stable.defer(market, places, seats)

    if ours().blocking:
        raise AssertionError("not stable")
    work = "deferred acceptance 10,000 x 4,000, 4 million scored pairs, s"
    return [at_most(work, seconds(ours, 1), 10)]


# Peers.


def peer_scores(people: int) -> Ints:
    """Return scores by features, of which some are liked by everybody, and by chance."""
    chance = np.random.default_rng(SEED)
    features = chance.random((people, 8))
    alike = features @ features.T
    scores = 10_000 * (0.6 * alike / alike.max() + 0.4 * chance.random((people, people)))
    return np.round((scores + scores.T) / 2).astype(np.int64)


def peer_rows() -> list[Figure]:
    """Pairs among 1,000 equals, from the matrix to pairs, against all pairs at once."""
    rustworkx = peer_of("rustworkx")
    scores = peer_scores(1000)
    weights = peers.weights_for_most_pairs(scores, ~np.eye(1000, dtype=bool))
    found = peers.pair(weights)

    def dense() -> int:
        rows, columns = np.triu_indices(1000, 1)
        graph = rustworkx.PyGraph(multigraph=False)
        graph.add_nodes_from(range(1000))
        edges = zip(rows.tolist(), columns.tolist(), weights[rows, columns].tolist(), strict=True)
        graph.add_edges_from(list(edges))
        matched = rustworkx.max_weight_matching(graph, max_cardinality=True, weight_fn=int)
        return int(sum(scores[two] for two in matched))

    before = time.process_time()
    best = dense()
    spent = time.process_time() - before
    reached = int(scores[found.pairs[:, 0], found.pairs[:, 1]].sum())
    work = f"peers, 1,000 people ({found.kind}), against rustworkx on all pairs"
    return [
        at_least(work, seconds(lambda: peers.pair(weights)), spent, 50),
        at_most(
            "peers, 1,000 people, gap to the best of all pairs, %",
            100 * (best - reached) / best,
            0.01,
        ),
    ]


# Circles.


def circle_pool(people: int) -> tuple[People, Facilitators]:
    chance = np.random.default_rng(SEED)
    leaders = people // OF_A_CIRCLE
    tastes = chance.random((people + leaders, 12)) ** 2
    tastes /= np.linalg.norm(tastes, axis=1)[:, None]
    alike = 10_000 * (
        0.7 * tastes @ tastes[:people].T + 0.3 * chance.random((people + leaders, people))
    )
    similarity = np.triu(alike[:people], 1).astype(np.int64)
    barred = np.triu(chance.random((people, people)) < 0.01, 1)
    return (
        People(
            similarity=similarity + similarity.T,
            barred=barred | barred.T,
            topics=chance.random((people, 24)) < 0.2,
            team=chance.integers(0, people // 8, people),
            role=np.zeros(people, dtype=np.int64),
            seat=np.full(people, circles.NOBODY),
        ),
        Facilitators(
            fit=alike[people:].astype(np.int64),
            barred=np.zeros((leaders, people), dtype=bool),
            circles=np.ones(leaders, dtype=np.int64),
        ),
    )


def worth(people: People, leaders: Facilitators, circle: Ints, leader: Ints) -> float:
    """Return what circles are worth, in points per person."""
    total = 0.0
    for number, lead in enumerate(leader.tolist()):
        members = np.flatnonzero(circle == number)
        pairs = people.similarity[np.ix_(members, members)].sum()
        total += leaders.fit[lead, members].sum() + pairs / max(1, len(members) - 1)
        total += GROUND * len(members) * bool(people.topics[members].all(axis=0).any())
    return float(total / len(circle))


def by_circle(people: People, leaders: Facilitators) -> Ints:
    """Return circles that are filled one after the other by whoever adds most."""
    circle = np.full(len(people.seat), circles.NOBODY)
    for number in range(len(leaders.circles)):
        for _ in range(OF_A_CIRCLE):
            members = np.flatnonzero(circle == number)
            gains = leaders.fit[number] + 2 * people.similarity[members].sum(axis=0) // OTHERS
            mates = np.array([(people.team[members] == team).sum() for team in people.team])
            allowed = (circle < 0) & ~people.barred[members].any(axis=0) & (mates < OF_A_TEAM)
            if allowed.any():
                circle[np.argmax(np.where(allowed, gains, -1))] = number
    for one in np.flatnonzero(circle < 0).tolist():
        make_room(people, leaders, circle, one)
    return circle


def by_person(people: People, leaders: Facilitators) -> Ints:
    """Return circles that people join in order, each where they add most."""
    circle = np.full(len(people.seat), circles.NOBODY)
    for one in range(len(people.seat)):
        gains = [
            gain_of(people, leaders, circle, one, number) for number in range(len(leaders.circles))
        ]
        circle[one] = int(np.argmax(gains)) if max(gains) >= 0 else circles.NOBODY
    for one in np.flatnonzero(circle < 0).tolist():
        make_room(people, leaders, circle, one)
    return circle


def gain_of(people: People, leaders: Facilitators, circle: Ints, one: int, number: int) -> int:
    """Return what somebody adds to a circle, or -1 if they may not join."""
    members = np.flatnonzero(circle == number)
    mates = (people.team[members] == people.team[one]).sum()
    full = len(members) == OF_A_CIRCLE or mates == OF_A_TEAM
    if full or people.barred[one, members].any():
        return -1
    return int(leaders.fit[number, one] + 2 * people.similarity[one, members].sum() // OTHERS)


def make_room(people: People, leaders: Facilitators, circle: Ints, one: int) -> None:
    """Let somebody take a place whose owner finds another."""
    for other in np.flatnonzero(circle >= 0).tolist():
        left = int(circle[other])
        circle[other] = circles.NOBODY
        if gain_of(people, leaders, circle, one, left) >= 0:
            circle[one] = left
            for number in range(len(leaders.circles)):
                if gain_of(people, leaders, circle, other, number) >= 0:
                    circle[other] = number
                    return
            circle[one] = circles.NOBODY
        circle[other] = left


def ours_in_circles(people: People, leaders: Facilitators, effort: Effort) -> Circles:
    return circles.form(
        people, leaders, Sizes(OF_A_CIRCLE, OF_A_CIRCLE), ground=GROUND, effort=effort
    )


def gained(work: str, ours: float, peer: float, bar: float) -> Figure:
    """Return by how many percent ours is better, both in points per person."""
    gain = 100 * (ours / peer - 1)
    return Figure(
        f"{work}; points each, ratio in %",
        round(ours, 1),
        round(peer, 1),
        round(gain, 2),
        f">= +{bar:g} %",
        gain >= bar,
    )


def circle_rows() -> list[Figure]:
    """Circles of eight against OR-Tools CP-SAT, which starts from circles that people joined."""
    people, leaders = circle_pool(200)
    here = np.arange(len(leaders.circles))
    ours = ours_in_circles(people, leaders, QUICK).total / SHARES / 200
    start = by_person(people, leaders)
    solved = cp_sat(people, leaders, start)
    found = ", which found nothing beyond its start" if solved is start else ""
    peer = worth(people, leaders, solved, here)
    filled = worth(people, leaders, by_circle(people, leaders), here)
    spent = seconds(lambda: ours_in_circles(people, leaders, QUICK))
    return [
        gained(
            f"circles, 200 people, against CP-SAT in {CP_SAT_SECONDS} s{found}", ours, peer, 4.8
        ),
        gained("circles, 200 people, against filling in order", ours, filled, 0),
        at_most("the same, s", spent, 0.05),
    ]


def large_circle_rows() -> list[Figure]:
    """Circles of eight from 1,000 people against greedy circles of two kinds."""
    people, leaders = circle_pool(1000)
    here = np.arange(len(leaders.circles))
    before = time.process_time()
    ours = ours_in_circles(people, leaders, Effort()).total / SHARES / 1000
    spent = time.process_time() - before
    joined = worth(people, leaders, by_person(people, leaders), here)
    filled = worth(people, leaders, by_circle(people, leaders), here)
    return [
        gained("circles, 1,000 people, against joining in order", ours, joined, 13),
        gained("circles, 1,000 people, against filling in order", ours, filled, 0),
        at_most("the same, s", spent, 5),
    ]


def cp_sat(people: People, leaders: Facilitators, start: Ints) -> Ints:
    """Return the circles that CP-SAT finds; it counts each person's most similar only."""
    cp_model = peer_of("ortools.sat.python.cp_model")
    model = cp_model.CpModel()
    everybody, groups = range(len(people.seat)), range(len(leaders.circles))
    seat = [[model.new_bool_var("") for _ in groups] for _ in everybody]
    gains = [
        OTHERS * int(leaders.fit[group, one]) * seat[one][group]
        for one in everybody
        for group in groups
    ]
    for one in everybody:
        model.add_exactly_one(seat[one])
        for group in groups:
            model.add_hint(seat[one][group], bool(start[one] == group))
    for one, other in similar_pairs(people):
        for group in groups:
            both = model.new_bool_var("")
            model.add_hint(both, bool(start[one] == start[other] == group))
            model.add_implication(both, seat[one][group])
            model.add_implication(both, seat[other][group])
            gains.append(2 * int(people.similarity[one, other]) * both)
    for group in groups:
        column = [row[group] for row in seat]
        gains += rules_of_circle(model, people, column)
    model.maximize(sum(gains))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = CP_SAT_SECONDS
    solver.parameters.num_workers = 2
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        # It found nothing in its time, so what it started from counts.
        return start
    taken = [[solver.boolean_value(value) for value in row] for row in seat]
    return np.array(taken).argmax(axis=1)


def similar_pairs(people: People) -> list[tuple[int, int]]:
    near = np.argsort(-people.similarity, axis=1)[:, :SIMILAR]
    pairs = {
        (min(one, other), max(one, other))
        for one, others in enumerate(near.tolist())
        for other in others
    }
    return sorted(pairs)


def rules_of_circle(model: Any, people: People, column: list[Any]) -> list[Any]:
    """State what holds in a circle, and return what its common ground adds."""
    model.add(sum(column) == OF_A_CIRCLE)
    for one, other in np.argwhere(np.triu(people.barred)).tolist():
        model.add_at_most_one(column[one], column[other])
    for team in np.unique(people.team).tolist():
        mates = np.flatnonzero(people.team == team).tolist()
        model.add(sum(column[one] for one in mates) <= OF_A_TEAM)
    shared = [model.new_bool_var("") for _ in range(people.topics.shape[1])]
    model.add_at_most_one(shared)
    for topic, is_shared in enumerate(shared):
        others = np.flatnonzero(~people.topics[:, topic]).tolist()
        model.add(sum(column[one] for one in others) == 0).only_enforce_if(is_shared)
    return [OTHERS * GROUND * OF_A_CIRCLE * is_shared for is_shared in shared]


# Flash and roulette.


def flash_rows() -> Iterator[Figure]:
    """Flash schedules: of the bound, where everybody is there and where one in eight is not."""
    chance = np.random.default_rng(SEED)
    scores = peer_scores(400)[:100, 100:]
    for absent in (0.0, 0.125):
        mentors = Side(chance.integers(8, 11, 100), chance.random((100, 10)) >= absent)
        mentees = Side(chance.integers(2, 5, 300), chance.random((300, 10)) >= absent)
        schedule = flash.plan(scores, mentors, mentees)
        share = 100 * schedule.total / schedule.bound
        work = (
            f"flash, 100 x 300 in 10 rounds, {absent:.1%} absent, % of the bound ({schedule.kind})"
        )
        bar = 99.8 if absent else 100.0
        yield Figure(work, round(share, 4), None, None, f">= {bar:g}", share >= bar)
        spent = seconds(partial(flash.plan, scores, mentors, mentees), 3)
        yield at_most("the same, s", spent, 1)


BENCHES: tuple[Callable[[], Iterable[Figure]], ...] = (
    stable_rows,
    large_stable_rows,
    peer_rows,
    circle_rows,
    large_circle_rows,
    flash_rows,
)


def rows(skip: Callable[[str], None]) -> Iterator[Figure]:
    """Yield the rows; peers that are missing are skipped."""
    for module in (stable, peers, circles, flash, roulette):
        module.warm()
    for bench in BENCHES:
        try:
            yield from bench()
        except SkippedError as missing:
            skip(str(missing))


def main(*, as_json: bool) -> int:
    """Run the bench; the exit code says whether every bar was met."""
    skipped = list[str]()
    told = report.tell(rows(skipped.append), as_json=as_json, rounds=ROUNDS, skipped=skipped)
    return 0 if report.all_met(told) else 1


if __name__ == "__main__":
    sys.exit(main(as_json="--json" in sys.argv[1:]))
