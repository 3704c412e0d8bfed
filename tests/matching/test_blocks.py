"""Every rule and criterion says of a block what it says of each pair, as a plain loop says it."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import blocks, measures
from services.matching.board import Board
from shared.schemas.matching import HARD_RULES, SOFT_RULES, Participants, Problem
from tests.support.pools import board_of, varied, weigh

type Params = Mapping[str, Any]
type Plain = Callable[[Problem, int, int, Params], Any]

some = settings(max_examples=6, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10_000)
UNKNOWN: list[Params] = [{"unknown": "passes"}, {"unknown": "fails"}]


# What each word means, pair by pair.


def known(people: Participants, name: str, row: int) -> Any:
    values = people.attributes.get(name) or getattr(people, name, None)
    return values[row] if values else None


def words(people: Participants, name: str, row: int) -> set[Any]:
    value = known(people, name, row)
    several = value if isinstance(value, list) else [] if value is None else [value]
    return {one.casefold() if isinstance(one, str) else one for one in several}


def both(problem: Problem, name: str, first: int, second: int) -> tuple[set[Any], set[Any]]:
    people = problem.participants
    return words(people, name, first), words(people, name, second)


def part_shared(problem: Problem, name: str, first: int, second: int) -> float:
    one, other = both(problem, name, first, second)
    return len(one & other) / min(len(one), len(other)) if one and other else 0


def named(problem: Problem, pairs: Any, first: int, second: int) -> bool:
    ids = problem.participants.id
    listed = set(zip(pairs.first, pairs.second, strict=True))
    return bool(listed & {(ids[first], ids[second]), (ids[second], ids[first])})


def minutes(problem: Problem, first: int, second: int) -> int | None:
    """Count the working minutes of a day that two people share, one by one."""
    days = []
    for row in (first, second):
        offset = known(problem.participants, "utc_offset_minutes", row)
        if offset is None:
            return None
        starts = known(problem.participants, "work_starts_minute", row)
        ends = known(problem.participants, "work_ends_minute", row)
        begin = 540 if starts is None else starts
        end = 1020 if ends is None else ends
        days.append({(minute - offset) % 1440 for minute in range(begin, end)})
    return len(days[0] & days[1])


def wish(problem: Problem, by: int, about: int) -> float:
    said, ids = problem.preferences, problem.participants.id
    found = 0.0
    for one, other, mark, rank in zip(said.by, said.about, said.mark, said.rank or (), strict=True):
        if (one, other) == (ids[by], ids[about]):
            worth = {"favorite": 1, "yes": 1, "maybe": 0.5}.get(mark, 0)
            found = max(found, worth * max(0.5, 1.1 - 0.1 * (rank or 1)))
    return found


def refused(problem: Problem, first: int, second: int, _params: Params) -> bool:
    said, ids = problem.preferences, problem.participants.id
    return any(
        mark in {"no", "ignore"} and {by, about} == {ids[first], ids[second]}
        for by, about, mark in zip(said.by, said.about, said.mark, strict=True)
    )


def in_line(problem: Problem, first: int, second: int, params: Params) -> bool:
    lines, ids = problem.participants.reporting_line or [], problem.participants.id
    levels = params.get("levels")
    return ids[second] in lines[first][:levels] or ids[first] in lines[second][:levels]


def too_few(one: set[Any], other: set[Any], minimum: int, params: Params) -> bool:
    if not one or not other:
        return params.get("unknown") == "fails"
    return len(one & other) < minimum


def slots(problem: Problem, first: int, second: int) -> tuple[set[int], set[int]]:
    free = problem.participants.availability or []
    return set(free[first]), set(free[second])


def too_far(problem: Problem, first: int, second: int, params: Params) -> bool:
    shared = minutes(problem, first, second)
    return params.get("unknown") == "fails" if shared is None else shared < 60 * params["hours"]


def wrong_grade(problem: Problem, first: int, second: int, params: Params) -> bool:
    ranks = problem.participants.grade_rank or []
    one, other = ranks[first], ranks[second]
    if one is None or other is None:
        return params.get("unknown") == "fails"
    relation = params.get("relation", "none")
    gap = {"mentor_higher": one - other, "mentor_lower": other - one}.get(
        relation, abs(one - other)
    )
    least = max(params.get("gap_min", 0), 0 if relation == "none" else 1)
    return not least <= gap <= params.get("gap_max", 99)


def unequal(problem: Problem, first: int, second: int, params: Params) -> bool:
    one, other = both(problem, params["attribute"], first, second)
    return one != other if one and other else params.get("unknown") == "fails"


def equal(problem: Problem, first: int, second: int, params: Params) -> bool:
    one, other = both(problem, params["attribute"], first, second)
    return one == other if one and other else params.get("unknown") == "fails"


def skills(problem: Problem, first: int, second: int, _params: Params) -> float:
    people = problem.participants
    everybody = range(len(people.id))

    def preferred(name: str, row: int) -> set[str]:
        return {"finance" if one == "sales" else one for one in words(people, name, row)}

    def rarity(word: str) -> float:
        columns = ("skills_offered", "skills_wanted")
        having = sum(word in preferred(name, row) for name in columns for row in everybody)
        return math.log(1 + len(everybody) / having)

    offered, wanted = preferred("skills_offered", first), preferred("skills_wanted", second)
    total = math.fsum(map(rarity, wanted))
    return math.fsum(map(rarity, wanted & offered)) / total if total else 0


def style(problem: Problem, first: int, second: int, _params: Params) -> float:
    people, found = problem.participants, 0.0
    for kind in ("encouragement", "challenge"):
        offers, wants = (
            known(people, f"offers_{kind}", first),
            known(people, f"wants_{kind}", second),
        )
        found += 0 if offers is None or wants is None else (1 - abs(offers - wants) / 4) / 2
    return found


def level(problem: Problem, first: int, second: int, params: Params) -> float:
    ranks = problem.participants.grade_rank or []
    one, other = ranks[first], ranks[second]
    if one is None or other is None:
        return 0
    ideal: int = params.get("ideal", 2)
    return 1 / (1 + abs(abs(one - other) - ideal))


def outside(problem: Problem, first: int, second: int, params: Params) -> bool:
    wanted, found = set(params["values"]), False
    for side, row in (("mentor", first), ("mentee", second)):
        if params.get("side", "both") in {side, "both"}:
            said = {
                str(one).lower() for one in words(problem.participants, params["attribute"], row)
            }
            found |= not said & wanted if said else params.get("unknown") == "fails"
    return found


def tenure(problem: Problem, first: int, second: int, params: Params) -> float:
    since = problem.participants.tenure_months or []
    one, other = since[first], since[second]
    if one is None or other is None:
        return 0
    parts = {"mentor": one - other, "mentee": other - one, "neither": 36 - abs(one - other)}
    return min(1, max(0, parts[params.get("longer", "mentor")] / 36))


def place(problem: Problem, first: int, second: int, _params: Params) -> float:
    places = problem.participants.location or []
    one, other = ((places[row] or "").lower().split(", ") for row in (first, second))
    shared = 0
    for mine, theirs in zip(reversed(one), reversed(other), strict=False):
        if mine != theirs or not mine:
            break
        shared += 1
    whole = max(len(one), len(other))
    # The fourth part and what is narrower are one.
    return 1 if shared == whole else min(3, shared) / min(4, whole)


def letters(problem: Problem, first: int, second: int, _params: Params) -> float:
    """Return the cosine of two texts as bags of runs of letters, rare ones weighing more."""
    people, places = problem.participants, problem.places
    roles = list(zip(places.participant, places.role, strict=True))
    first_side = [row for row, role in roles if role == "mentor"]
    second_side = [row for row, role in roles if role == "mentee"]
    texts = [(people.path_now or [])[row] or "" for row in first_side]
    goals = [(people.path_target or [])[row] or "" for row in second_side]

    def runs(text: str) -> dict[str, int]:
        padded, found = f" {text.lower()} ", dict[str, int]()
        for size in (3, 4):
            for start in range(len(padded) - size + 1 if text else 0):
                run = padded[start : start + size]
                found[run] = found.get(run, 0) + 1
        return found

    bags = [runs(text) for text in [*texts, *goals]]

    def vector(bag: dict[str, int]) -> dict[str, float]:
        return {
            run: (1 + math.log(count)) * math.log(1 + len(bags) / sum(run in one for one in bags))
            for run, count in bag.items()
        }

    one = vector(bags[first_side.index(first)])
    other = vector(bags[len(texts) + second_side.index(second)])
    lengths = [math.sqrt(sum(x * x for x in each.values())) for each in (one, other)]
    product = sum(value * other.get(run, 0) for run, value in one.items())
    return product / (lengths[0] * lengths[1]) if all(lengths) else 0


RULES: Mapping[str, tuple[Plain, list[Params]]] = {
    "not_oneself": (lambda _problem, first, second, _params: first == second, [{}]),
    "not_blocked": (lambda p, one, other, _: named(p, p.blocks, one, other), [{}]),
    "not_past_pair": (lambda p, one, other, _: named(p, p.past_pairs, one, other), [{}]),
    "not_ignored": (refused, [{}]),
    "reporting_line_distance": (in_line, [{}, {"levels": 1}, {"levels": 0}]),
    "shared_language": (
        lambda p, one, other, params: too_few(*both(p, "languages", one, other), 1, params),
        UNKNOWN,
    ),
    "choice_overlap": (
        lambda p, one, other, params: too_few(*both(p, "topics", one, other), 2, params),
        [{"attribute": "topics", "minimum": 2, **one} for one in UNKNOWN],
    ),
    "availability_overlap": (
        lambda p, one, other, params: too_few(*slots(p, one, other), 2, params),
        [{"half_hours": 2, **one} for one in UNKNOWN],
    ),
    "timezone_overlap": (too_far, [{"hours": 3, **one} for one in UNKNOWN]),
    "seniority": (
        wrong_grade,
        [
            {"relation": "mentor_higher", "gap_max": 3},
            {"relation": "mentor_lower", "gap_min": 2, "unknown": "fails"},
            {"gap_min": 1},
        ],
    ),
    "attribute_equal": (unequal, [{"attribute": "department", **one} for one in UNKNOWN]),
    "attribute_different": (equal, [{"attribute": "site", **one} for one in UNKNOWN]),
    "attribute_in": (
        outside,
        [
            {"attribute": "site", "values": ["berlin", "3"], "unknown": "fails"},
            {"attribute": "site", "values": ["false"], "side": "mentor"},
            {"attribute": "topics", "values": ["a", "b"], "side": "mentee", "unknown": "fails"},
        ],
    ),
}

CRITERIA: Mapping[str, tuple[Plain, list[Params]]] = {
    "shared_language": (
        lambda p, one, other, _: min(1, len(set.intersection(*both(p, "languages", one, other)))),
        [{}],
    ),
    "timezone_overlap": (
        lambda p, one, other, params: min(
            1, (minutes(p, one, other) or 0) / 60 / max(1, params["hours"])
        ),
        [{"hours": 4}, {"hours": 0.5}],
    ),
    "availability_overlap": (
        lambda p, one, other, _: min(1, len(set.intersection(*slots(p, one, other))) / 3),
        [{"half_hours": 3}],
    ),
    "attribute_equal": (
        lambda p, one, other, params: not unequal(p, one, other, {**params, "unknown": "fails"}),
        [{"attribute": "department"}],
    ),
    "attribute_different": (
        lambda p, one, other, params: not equal(p, one, other, {**params, "unknown": "fails"}),
        [{"attribute": "topics"}, {"attribute": "site"}],
    ),
    "choice_overlap": (
        lambda p, one, other, _: part_shared(p, "topics", one, other),
        [{"attribute": "topics"}],
    ),
    "offers_wants": (skills, [{}]),
    "path_fit": (letters, [{}]),
    "style_fit": (style, [{}]),
    "shortlisted": (
        lambda p, one, other, _: (
            0.7 * max(wish(p, one, other), wish(p, other, one))
            + 0.3 * min(wish(p, one, other), wish(p, other, one))
        ),
        [{}],
    ),
    "shared_values": (lambda p, one, other, _: part_shared(p, "values", one, other), [{}]),
    "shared_interests": (lambda p, one, other, _: part_shared(p, "interests", one, other), [{}]),
    "expectation_fit": (lambda p, one, other, _: part_shared(p, "expectations", one, other), [{}]),
    "level_distance": (level, [{"ideal": 1}, {}]),
    "tenure": (tenure, [{}, {"longer": "mentee"}, {"longer": "neither"}]),
    "location": (place, [{}]),
}


def test_every_word_of_the_contract_is_said_plainly_here() -> None:
    assert RULES.keys() == HARD_RULES.keys()
    assert CRITERIA.keys() == SOFT_RULES.keys()


# What the arrays say.


@pytest.fixture(params=["as it is", "no tables", "no bits"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every way in which a block can be worked out."""
    if request.param != "as it is":
        monkeypatch.setattr(blocks, "TABLE_CELLS", 0)
    if request.param == "no bits":
        monkeypatch.setattr(measures, "MOST_WORDS", 0)
        monkeypatch.setattr(measures, "FREQUENT", 2)


def asked(word: str, kind: str, params: Params, seed: int) -> Board:
    values = varied(5, 6, seed=seed)
    values["places"]["participant"][0] = 9
    values["policy"] = {
        kind: [{"rule": word, "params": params, **({"weight": 10} if kind == "soft" else {})}],
        "synonyms": [["finance", "Sales"]],
        "text_model": "character-ngrams-1",
    }
    return board_of(values)


def everybody(board: Board) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.indices(board.shape)
    return first.ravel(), second.ravel()


def whole(board: Board) -> blocks.Scores:
    """Return all scores, put together from blocks of two rows and three columns."""
    made = board.blocks()
    return np.vstack(
        [
            np.hstack([made.block(rows, columns) for columns in blocks.slices(board.shape[1], 3)])
            for rows in blocks.slices(board.shape[0], 2)
        ]
    )


def cases(table: Mapping[str, tuple[Plain, list[Params]]]) -> list[tuple[str, Params]]:
    return [(word, params) for word, (_, several) in table.items() for params in several]


@pytest.mark.parametrize(("word", "params"), cases(RULES))
@some
@given(seed=SEEDS)
def test_a_rule_says_of_a_block_what_it_says_of_each_pair(
    word: str, params: Params, seed: int
) -> None:
    board = asked(word, "hard", params, seed)
    judged = next(one for one in board.hard if one.rule == word and one.index == 0)
    plain, _ = RULES[word]
    first, second = everybody(board)
    expected = [
        bool(plain(board.problem, board.first.rows[one], board.second.rows[other], params))
        for one, other in zip(first, second, strict=True)
    ]

    assert judged.apart.pairs(first, second).tolist() == expected
    assert (whole(board) >= 0).ravel().tolist() == board.allowed(first, second).tolist()


@pytest.mark.parametrize(("word", "params"), cases(CRITERIA))
@some
@given(seed=SEEDS)
def test_a_criterion_says_of_a_block_what_it_says_of_each_pair(
    word: str, params: Params, seed: int
) -> None:
    board = asked(word, "soft", params, seed)
    plain, _ = CRITERIA[word]
    first, second = everybody(board)
    expected = [
        float(plain(board.problem, board.first.rows[one], board.second.rows[other], params))
        for one, other in zip(first, second, strict=True)
    ]

    scores = board.scores(first, second)

    assert board.soft[0].fit.pairs(first, second).tolist() == pytest.approx(expected, abs=2e-4)
    allowed = board.allowed(first, second)
    assert whole(board).ravel().tolist() == np.where(allowed, scores, -1).tolist()


def all_at_once(seed: int, **changes: Any) -> dict[str, Any]:
    """Return a problem with every criterion and every rule that leaves some pairs."""
    values = varied(7, 6, seed=seed, **changes)
    values["policy"] = {
        "soft": [
            {"rule": word, "params": params, "weight": 1 + place}
            for place, (word, params) in enumerate(cases(CRITERIA))
        ],
        "hard": [
            {"rule": word, "params": params}
            for word, params in cases(RULES)
            if word in {"not_past_pair", "seniority", "shared_language", "timezone_overlap"}
            and params.get("unknown") != "fails"
        ],
    }
    return values


@some
@given(seed=SEEDS)
def test_blocks_are_the_matrices_of_a_small_pool(seed: int) -> None:
    values = all_at_once(seed)
    weighed = weigh(values)

    expected = np.where(weighed.allowed, weighed.scores, -1)

    assert (whole(board_of(values)) == expected).all()


@some
@given(seed=SEEDS)
def test_equals_are_to_each_other_what_both_are_on_average(seed: int) -> None:
    values = all_at_once(seed)
    values["places"]["role"] = ["peer"] * 13
    values |= {"format": "peer"}
    board = board_of(values)
    first, second = everybody(board)

    for one in board.soft:
        assert isinstance(one.fit, measures.Mutual | measures.Named)
        forth, back = one.fit.pairs(first, second), one.fit.pairs(second, first)
        assert forth.tolist() == back.tolist()
        if isinstance(one.fit, measures.Mutual):
            there = one.fit.there
            mean = (there.pairs(first, second) + there.pairs(second, first)) / 2
            assert forth.tolist() == mean.tolist()
    expected = np.where(board.allowed(first, second), board.scores(first, second), -1)
    assert whole(board).ravel().tolist() == expected.tolist()


@some
@given(seed=SEEDS)
def test_some_people_in_another_order_score_as_before(seed: int) -> None:
    board = board_of(all_at_once(seed))
    chance = np.random.default_rng(seed)
    first, second = chance.permutation(7)[:5], chance.permutation(6)[:4]

    taken = board.blocks().take(first, second).block(slice(0, 5), slice(0, 4))

    assert (taken == whole(board)[np.ix_(first, second)]).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nobody_on_a_side_is_no_pair(shape: tuple[int, int]) -> None:
    board = board_of(varied(*shape))

    assert board.blocks().block(slice(0, shape[0]), slice(0, shape[1])).shape == shape
