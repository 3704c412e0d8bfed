"""Bounds of a trial, invented people, and where in a policy a finding lies."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from services.api.pools import rules as pools
from services.api.programs.rules import Format, TrackRole
from shared import ids
from shared.errors import ConflictError, InvalidError, Violation
from shared.schemas.matching import CheckedTest, Match, PolicyCheckAnswer, Reason

MOST_PAIRS = pools.MOST_PAIRS
SECONDS = 7.5
"""How long a trial may take: a request's own deadline is ten."""

ROLES: Mapping[Format, tuple[TrackRole, TrackRole]] = {
    Format.PEER: (TrackRole.PEER, TrackRole.PEER),
    Format.SPONSORSHIP: (TrackRole.SPONSOR, TrackRole.PROTEGE),
}
MENTORING = (TrackRole.MENTOR, TrackRole.MENTEE)

PART_OF: Mapping[str, str] = {"weights": "#/policy/soft", "floor": "#/policy/floor"}
"""Where a doubt lies that is about no rule."""

DECIDED: Mapping[tuple[str, str], int] = MappingProxyType(
    {
        ("attribute_equal", "attribute_equal"): 1,
        ("attribute_equal", "attribute_different"): 0,
        ("attribute_different", "attribute_different"): 1,
        ("attribute_different", "attribute_equal"): 0,
        ("location", "attribute_equal"): 1,
    }
)
"""What a criterion is for all whom a hard rule on the same attribute lets be, if it is known."""

SKILLS = (
    *("Leadership", "Public speaking", "Negotiation", "Data analysis", "Python", "Finance"),
    *("Product thinking", "Conflict", "Strategy", "Writing", "Sales", "Project planning"),
)
VALUES = ("curiosity", "calm", "honesty", "courage", "humour", "patience")
LANGUAGES = (("en",), ("en",), ("en", "de"), ("en", "fr"), ("de",))
DEPARTMENTS = ("Engineering", "Sales", "Finance", "People", "Operations")
OFFSETS = (-300, -300, 0, 60, 60, 60, 330)
PATHS = (
    *("Leading a team of engineers.", "Moving from support into product work."),
    *("Speaking in front of customers.", "Running a region of the sales organization."),
    *("Becoming a specialist for data.", "Coming back after a long leave."),
)
OPTIONS = ("a", "b", "c", "d")
GRADES = 8
LEVELS = 5
LONGEST_TENURE = 180


def require_solved(format_: str) -> None:
    """Refuse a format that is not solved as one problem."""
    if format_ not in pools.SOLVED:
        detail = f"The format {format_} is not matched as one pool."
        raise InvalidError(errors=[Violation("#/track_id", "format_not_supported", detail)])


def require_bounded(problem: Mapping[str, Any], pointer: str) -> None:
    """Refuse more pairs than a request can try."""
    pairs = pools.count_pairs(problem)
    if pairs > MOST_PAIRS:
        detail = (
            f"There are {pairs} pairs here; at most {MOST_PAIRS} are tried at once."
            " A dry run takes any number."
        )
        raise ConflictError(
            detail,
            code="limit_reached",
            errors=[Violation(pointer, "too_many_pairs", detail)],
        )


def took_too_long() -> ConflictError:
    """Refuse because the trial was not over in time."""
    detail = "This was not tried within a few seconds. A dry run takes as long as needed."
    return ConflictError(detail, code="limit_reached", errors=[Violation("#", "too_long", detail)])


def invented(
    terms: Mapping[str, Any],
    *,
    mentors: int,
    mentees: int,
    attributes: Collection[str],
    policy: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Return a problem of people who do not exist: the same for the same numbers."""
    chance = random.Random(seed)  # noqa: S311 - no secret, only variety
    first, second = ROLES.get(Format(terms["format"]), MENTORING)
    roles = [first] * mentors + [second] * mentees
    people = [_invented_person(chance, number) for number in range(len(roles))]
    names = set(attributes) - people[0].keys()
    places = _places_of_mentors(terms)
    return {
        "format": terms["format"],
        "policy": pools.policy_of(policy, synonyms=[]),
        "track": {name: value for name, value in terms.items() if name != "format"},
        "participants": {
            **{name: [one[name] for one in people] for name in people[0]},
            "attributes": {
                name: [chance.choice(OPTIONS) for _ in people] for name in sorted(names)
            },
        },
        "places": {
            "participant": list(range(len(roles))),
            "role": roles,
            "capacity": [
                chance.choice(places) if number < mentors else 1 for number in range(len(roles))
            ],
        },
        "seed": policy["seed"],
    }


def _places_of_mentors(terms: Mapping[str, Any]) -> Sequence[int]:
    """Return how many places an invented mentor may have."""
    if terms["format"] == Format.GROUP:
        # A place is one mentee here, so with fewer than the smallest group has nobody is matched.
        return range(terms["min_members"], terms["max_members"] + 1)
    return (1, 1, 2)


def _invented_person(chance: random.Random, number: int) -> dict[str, Any]:
    skills = chance.sample(SKILLS, 4)
    return {
        "id": f"invented-{number:04d}",
        "reporting_line": [f"manager-{chance.randrange(50):02d}"],
        "skills_offered": skills[:2],
        "skills_wanted": skills[2:],
        "languages": list(chance.choice(LANGUAGES)),
        "utc_offset_minutes": chance.choice(OFFSETS),
        "grade_rank": chance.randrange(GRADES),
        "department": chance.choice(DEPARTMENTS),
        "tenure_months": chance.randrange(LONGEST_TENURE),
        "values": chance.sample(VALUES, 2),
        "path_now": chance.choice(PATHS),
        "path_target": chance.choice(PATHS),
        **{
            f"{side}_{kind}": chance.randint(1, LEVELS)
            for side in ("wants", "offers")
            for kind in ("encouragement", "challenge")
        },
    }


def attributes_of(*policies: Mapping[str, Any] | None) -> set[str]:
    """Return the columns that rules of policies compare."""
    rules = [one for policy in policies if policy for one in (*policy["hard"], *policy["soft"])]
    return {one["params"]["attribute"] for one in rules if one["params"].get("attribute")}


def pairs_of(matches: Sequence[Match]) -> set[tuple[str, str]]:
    """Return who is with whom, the mentor side first; of a group, its mentor with each mentee."""
    return {
        pair
        for match in matches
        for pair in (
            [(one.first, one.second) for one in match.pairs]
            or [(match.members[0].id, one.id) for one in match.members[1:]]
        )
    }


def scores_of(matches: Sequence[Match]) -> list[float]:
    """Return the score of each pair."""
    return [
        score
        for match in matches
        for score in ([one.score for one in match.pairs] or [match.score])
    ]


# What is told of a policy.


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong or doubtful in a policy: as a key with what fills it, and where."""

    kind: str
    rule: str | None
    key: str
    params: Mapping[str, Any]
    pointer: str


def findings(answer: PolicyCheckAnswer, policy: Mapping[str, Any]) -> list[Finding]:
    """Return everything matching said about a policy, in the order of the document's parts."""
    return [
        *(Finding("fault", None, f"fault.{one.code}", {}, one.pointer) for one in answer.faults),
        *_not_to_be_stored(policy),
        *(
            Finding("doubt", one.rule, one.key, one.params, _place_of(one, answer, policy))
            for one in answer.warnings
        ),
        *(
            Finding(
                "doubt", one["rule"], "doubt.weight_of_zero", {}, f"#/policy/soft/{index}/weight"
            )
            for index, one in enumerate(policy["soft"])
            if not one["weight"]
        ),
        *_listed_twice(policy),
        *_decided_by_rules(policy),
        *_without_effect(answer, policy),
        *_failed_tests(answer, policy),
    ]


def _not_to_be_stored(policy: Mapping[str, Any]) -> Iterator[Finding]:
    """Return what matching would take and no policy is stored with."""
    if not policy["soft"]:
        yield Finding("fault", None, "fault.too_short", {}, "#/policy/soft")


def _place_of(doubt: Reason, answer: PolicyCheckAnswer, policy: Mapping[str, Any]) -> str:
    """Return where in the document a doubt lies; the part it is about when no rule is named."""
    if doubt.key == "doubt.forbids_everything":
        found = [
            one.index
            for one in answer.effects
            if one.rule == doubt.rule and one.pairs == answer.pairs
        ]
        if found and found[0] is not None:
            return f"#/policy/hard/{found[0]}"
    # A criterion may be named as a hard rule is.
    for part in ("soft",) if doubt.key == "doubt.same_for_everybody" else ("hard", "soft"):
        for index, one in enumerate(policy[part]):
            if one["rule"] == doubt.rule and one["params"].items() <= doubt.params.items():
                return f"#/policy/{part}/{index}"
    return PART_OF.get(doubt.rule, "#/policy")


def _listed_twice(policy: Mapping[str, Any]) -> Iterator[Finding]:
    """Tell of criteria that stand there once more with the same params: their weights add up."""
    weighed = [(index, one) for index, one in enumerate(policy["soft"]) if one["weight"]]
    for index, one in weighed:
        same = [
            (place, other)
            for place, other in weighed
            if (other["rule"], other["params"]) == (one["rule"], one["params"])
        ]
        first = same[0][0]
        if index != first:
            params = {
                "first": f"#/policy/soft/{first}",
                "weight": sum(other["weight"] for _place, other in same),
            }
            place = f"#/policy/soft/{index}"
            yield Finding("doubt", one["rule"], "doubt.listed_twice", params, place)


def _decided_by_rules(policy: Mapping[str, Any]) -> Iterator[Finding]:
    """Tell of criteria that say nothing, because of a hard rule all pairs that may be are alike."""
    for index, one in enumerate(policy["soft"]):
        for hard in policy["hard"]:
            value = DECIDED.get((one["rule"], hard["rule"]))
            attribute = _attribute_of(one)
            if one["weight"] and value is not None and hard["params"].get("attribute") == attribute:
                params = {"by": hard["rule"], "attribute": attribute, "value": value}
                place = f"#/policy/soft/{index}"
                yield Finding("doubt", one["rule"], "doubt.decided_by_rule", params, place)


def _attribute_of(one: Mapping[str, Any]) -> Any:
    return "location" if one["rule"] == "location" else one["params"].get("attribute")


def _without_effect(answer: PolicyCheckAnswer, policy: Mapping[str, Any]) -> Iterator[Finding]:
    if answer.pairs is None:
        return
    if answer.pairs and not answer.allowed_pairs:
        params = {"pairs": answer.pairs}
        yield Finding("doubt", None, "doubt.nobody_left", params, "#/policy/hard")
    for one in answer.effects:
        # Rules that always hold stand behind those of the document, or have no place at all.
        if one.index is not None and one.index < len(policy["hard"]) and not one.pairs:
            place = f"#/policy/hard/{one.index}"
            yield Finding("doubt", one.rule, "doubt.forbids_nothing", {}, place)


def _failed_tests(answer: PolicyCheckAnswer, policy: Mapping[str, Any]) -> Iterator[Finding]:
    if policy["tests"] and answer.pairs is None:
        yield Finding("doubt", None, "doubt.tests_not_run", {}, "#/policy/tests")
    for index, (asked, one) in enumerate(zip(policy["tests"], answer.tests, strict=False)):
        if one.passed:
            continue
        params = {
            "name": one.name,
            "people": [ids.format_id("person", one) for one in asked["people"]],
            "expected": asked["expect"],
            "found": found_of(one),
        }
        key = f"test.{one.found.get('problem', 'failed')}"
        yield Finding("test", None, key, params, f"#/policy/tests/{index}")


def found_of(test: CheckedTest) -> Mapping[str, Any]:
    """Return how two people of a test are; nothing where they are no pair that could be matched."""
    return {} if "problem" in test.found else test.found
