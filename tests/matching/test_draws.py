"""Roulette: nothing is repeated before it must be, all sit out in turns, the seed is the draw."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.matching import draws
from shared.errors import InvalidError
from shared.schemas.matching import Draw, DrawProblem
from tests.support.pools import MAX_CELLS, flash, peers, problem, quiet, shuffled

small = settings(max_examples=40, deadline=None, derandomize=True)


def draw(values: dict[str, Any]) -> Draw:
    asked = DrawProblem.model_validate(values)
    wheel = draws.lay_out(asked, max_cells=MAX_CELLS, step=quiet)
    return draws.describe(wheel, draws.draw(wheel, step=quiet), step=quiet)


def groups(found: Draw) -> list[tuple[str, ...]]:
    return [tuple(member.id for member in match.members) for match in found.matches]


def reasons(found: Draw) -> dict[str, str]:
    return {one.id: one.reason.key.removeprefix("unmatched.") for one in found.unmatched}


def faults(values: dict[str, Any]) -> set[tuple[str, str]]:
    with pytest.raises(InvalidError) as refused:
        draw(values)
    return {(one.pointer, one.code) for one in refused.value.errors}


def many(values: dict[str, Any], count: int) -> list[Draw]:
    """Return draws one after the other, each of which knows those before."""
    found: list[Draw] = []
    for seed in range(count):
        met: dict[tuple[str, ...], list[int]] = {}
        out: dict[str, int] = {}
        for ago, before in enumerate(reversed(found), start=1):
            for pair in groups(before):
                times, last = met.get(pair, [0, ago])
                met[pair] = [times + 1, last]
            for one in before.unmatched:
                out[one.id] = out.get(one.id, 0) + 1
        history = {
            "met": {
                "first": [pair[0] for pair in met],
                "second": [pair[1] for pair in met],
                "times": [times for times, _ in met.values()],
                "ago": [ago for _, ago in met.values()],
            },
            "sat_out": {"id": list(out), "times": list(out.values())},
        }
        found.append(draw({**values, **history, "seed": seed}))
    return found


def test_peers_meet_everybody_once_before_anybody_twice() -> None:
    found = many(peers(6), 5)

    pairs = [pair for one in found for pair in groups(one)]
    assert len(set(pairs)) == len(pairs) == 15
    assert [one.repeated for one in found] == [0] * 5
    assert many(peers(6), 6)[-1].repeated == 3


def test_an_odd_peer_sits_out_in_turns() -> None:
    out = [one for found in many(peers(5), 5) for one in reasons(found)]

    assert sorted(out) == [f"mentor-{n}" for n in range(5)]


def test_an_odd_peer_may_join_a_pair() -> None:
    found = draw({**peers(7), "with_trio": True})

    trio = max(found.matches, key=lambda match: len(match.members))
    assert sorted(len(match.members) for match in found.matches) == [2, 2, 3]
    assert len(trio.pairs) == 3
    assert found.unmatched == []


def test_the_larger_side_sits_out_in_turns() -> None:
    found = many(problem(mentors=2, mentees=6), 3)

    assert [len(one.matches) for one in found] == [2, 2, 2]
    placed = [pair[1] for one in found for pair in groups(one)]
    assert sorted(placed) == [f"mentee-{n}" for n in range(6)]


def test_mentors_and_mentees_meet_others_before_the_same() -> None:
    found = many(problem(mentors=4, mentees=4), 4)

    pairs = [pair for one in found for pair in groups(one)]
    assert len(set(pairs)) == 16


@small
@given(
    mentors=st.integers(0, 4),
    mentees=st.integers(0, 4),
    blocked=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=10),
)
def test_as_many_pairs_as_can_be(mentors: int, mentees: int, blocked: set[tuple[int, int]]) -> None:
    pairs = sorted((one, other) for one, other in blocked if one < mentors and other < mentees)
    blocks = {
        "first": [f"mentor-{one}" for one, _ in pairs],
        "second": [f"mentee-{other}" for _, other in pairs],
    }

    found = draw(problem(mentors=mentors, mentees=mentees, blocks=blocks))

    free = set(itertools.product(range(mentors), range(mentees))) - blocked
    most = max(
        (
            size
            for size in range(min(mentors, mentees) + 1)
            for chosen in itertools.combinations(sorted(free), size)
            if len({one for one, _ in chosen}) == len({other for _, other in chosen}) == size
        ),
        default=0,
    )
    assert len(found.matches) == most
    assert len(found.unmatched) == mentors + mentees - 2 * most


def test_the_seed_is_the_draw() -> None:
    drawn = {seed: groups(draw({**peers(12), "seed": seed})) for seed in range(6)}

    again = groups(draw({**peers(12), "seed": 3}))

    assert again == drawn[3]
    assert len({tuple(one) for one in drawn.values()}) > 1


@pytest.mark.parametrize("values", [peers(9), problem(mentors=4, mentees=7), flash(3, 5)])
@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_rows_changes_nothing(values: dict[str, Any], seed: int) -> None:
    names = values["participants"]["id"]
    asked = {name: value for name, value in values.items() if name != "rounds"} | {
        "met": {"first": names[:2], "second": names[4:6], "times": [2, 1], "ago": [1, 3]},
        "sat_out": {"id": names[5:7], "times": [1, 2]},
        "blocks": {"first": names[2:4], "second": names[5:7]},
    }

    first, again = draw(asked), draw(shuffled(asked, seed=seed))

    assert first.model_dump_json() == again.model_dump_json()


def test_in_flash_whoever_met_never_meets_again_and_else_last() -> None:
    past = {"first": ["mentor-0"] * 2, "second": ["mentee-0", "mentee-1"]}
    flashing = draw(flash(1, 2, past_pairs=past))
    pairing = draw(problem(mentors=1, mentees=2, past_pairs=past))

    assert (flashing.matches, reasons(flashing)["mentor-0"]) == ([], "kept_apart")
    assert pairing.repeated == 1


def test_locked_pairs_are_in_the_draw() -> None:
    locks = {"first": ["mentor-3"], "second": ["mentor-0"]}

    found = draw({**peers(6), "locks": locks})

    (locked,) = [match for match in found.matches if match.is_locked]
    assert [member.id for member in locked.members] == ["mentor-0", "mentor-3"]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (
            {
                **peers(4),
                "locks": {"first": ["mentor-0"], "second": ["mentor-1"]},
                "blocks": {"first": ["mentor-1"], "second": ["mentor-0"]},
            },
            ("#/locks/first/0", "lock_breaks_rule"),
        ),
        (
            {**peers(4), "locks": {"first": ["mentor-0"] * 2, "second": ["mentor-1", "mentor-2"]}},
            ("#/locks/first/0", "lock_exceeds_capacity"),
        ),
        ({**problem(), "with_trio": True}, ("#/with_trio", "not_allowed")),
        (
            {
                **peers(2),
                "met": {
                    "first": ["mentor-0", "mentor-1"],
                    "second": ["mentor-1", "mentor-0"],
                    "times": [1, 1],
                    "ago": [1, 1],
                },
            },
            ("#/met/first/1", "not_unique"),
        ),
        (
            {**peers(2), "sat_out": {"id": ["stranger"], "times": [1]}},
            ("#/sat_out/id/0", "unknown_reference"),
        ),
        ({**peers(2), "sat_out": {"id": ["mentor-0"]}}, ("#/sat_out/times", "wrong_length")),
        (problem(format="group"), ("#/format", "format_not_supported")),
    ],
    ids=["blocked", "two locks", "trio", "met twice", "unknown", "lengths", "format"],
)
def test_what_cannot_be_is_refused(values: dict[str, Any], fault: tuple[str, str]) -> None:
    assert fault in faults(values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (peers(0), {}),
        (peers(1), {"mentor-0": "nobody_there"}),
        (
            {**peers(2), "blocks": {"first": ["mentor-0"], "second": ["mentor-1"]}},
            {"mentor-0": "kept_apart", "mentor-1": "kept_apart"},
        ),
        (problem(mentors=0, mentees=1), {"mentee-0": "nobody_there"}),
        (
            problem(mentors=1, mentees=1, seats=[0]),
            {"mentor-0": "no_place", "mentee-0": "nobody_there"},
        ),
    ],
    ids=["nobody", "one person", "blocked", "no mentor", "no capacity"],
)
def test_a_pool_without_a_pair_is_answered_with_reasons(
    values: dict[str, Any], expected: dict[str, str]
) -> None:
    found = draw(values)

    assert found.matches == []
    assert reasons(found) == expected


def test_more_than_one_place_is_one_pair_in_a_draw() -> None:
    found = draw(problem(mentors=1, mentees=3, seats=[3]))

    assert len(found.matches) == 1
    assert "doubt.one_pair_each" in {one.key for one in found.warnings}


@pytest.mark.parametrize("values", [peers(20), problem(mentors=8, mentees=8)])
def test_a_pool_above_the_limit_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as refused:
        draws.lay_out(DrawProblem.model_validate(values), max_cells=300, step=quiet)

    assert {one.code for one in refused.value.errors} == {"too_many_pairs"}


def test_a_lock_that_yields_is_drawn_against_the_policy_alone() -> None:
    values = {
        **peers(4),
        "locks": {"first": ["mentor-0", "mentor-2"], "second": ["mentor-1", "mentor-3"]},
        "locks_yield": True,
        "past_pairs": {"first": ["mentor-0"], "second": ["mentor-1"]},
        "blocks": {"first": ["mentor-2"], "second": ["mentor-3"]},
    }
    values["policy"] = {**values["policy"], "hard": [{"rule": "not_past_pair"}]}

    drawn = draw(values)

    assert [
        ([one.id for one in match.members], [rule.rule for rule in match.broken])
        for match in drawn.matches
        if match.is_locked or match.broken
    ] == [(["mentor-0", "mentor-1"], ["not_past_pair"])]
    assert [one.params for one in drawn.warnings if one.rule == "locks"] == [{"locks": 1}]
