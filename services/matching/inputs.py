"""Is a problem consistent, and what is its canonical form: equal problems, equal digest."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic_core import to_json

from services.matching import columns, embeddings, text
from shared.errors import Violation
from shared.schemas.base import Wire
from shared.schemas.matching import (
    HARD_RULES,
    SOFT_RULES,
    Format,
    HardRule,
    Pairs,
    Participants,
    Places,
    Policy,
    Preferences,
    Problem,
    Role,
    SoftRule,
    faults_of_rule,
)

FIRST_ROLES = frozenset({Role.MENTOR, Role.SPONSOR})
SECOND_ROLES = frozenset({Role.MENTEE, Role.PROTEGE})

_MENTORING = frozenset({Role.MENTOR, Role.MENTEE})
ROLES: Mapping[Format, frozenset[Role]] = MappingProxyType(
    {
        Format.ONE_TO_ONE: _MENTORING,
        Format.REVERSE: _MENTORING,
        Format.GROUP: _MENTORING | {Role.FACILITATOR},
        Format.SPONSORSHIP: frozenset({Role.SPONSOR, Role.PROTEGE}),
        Format.PEER: frozenset({Role.PEER}),
    }
)
"""Formats that a solution is made for, with the roles they take."""

NOBODY_HERE = "This refers to nobody in the problem."


type Formats = Mapping[Format, frozenset[Role]]

_EITHER_WAY = frozenset({Format.PEER, Format.CIRCLE})


def faults_of(problem: Problem, *, max_cells: int, formats: Formats = ROLES) -> list[Violation]:
    """Return everything that is wrong with a problem, each with its JSON pointer.

    `formats` are those that are taken, with their roles.
    """
    found = [
        *_wrong_format(problem, formats),
        *_wrong_lengths(problem),
        *repeated("#/participants/id", problem.participants.id),
    ]
    if found:
        return found
    return [
        *_wrong_places(problem, formats),
        *_unknown_locks(problem),
        *_too_many(problem, max_cells),
        *_wrong_vectors(problem),
        *policy_faults(problem.policy, problem.participants),
    ]


def table_faults(problem: Problem, name: str, *, people: Sequence[str]) -> list[Violation]:
    """Return what is wrong with one more table of a problem: its lengths, and who is named.

    `people` are the columns that name somebody; one row says one thing only once.
    """
    table: Wire = getattr(problem, name)
    columns = {one: getattr(table, one) for one in type(table).model_fields}
    expected = len(next(iter(columns.values())))
    wrong = list(_unequal({f"#/{name}/{one}": columns[one] for one in columns}, expected))
    known = set(problem.participants.id)
    return wrong or [
        Violation(f"#/{name}/{one}/{row}", "unknown_reference", NOBODY_HERE)
        for one in people
        for row, value in enumerate(columns[one])
        if value not in known
    ]


def _wrong_format(problem: Problem, formats: Formats) -> Iterator[Violation]:
    if problem.format not in formats:
        known = ", ".join(sorted(formats))
        detail = f"{problem.format} is not solved as one problem here; these are: {known}."
        yield Violation("#/format", "format_not_supported", detail)


def _wrong_lengths(problem: Problem) -> Iterator[Violation]:
    people, places = problem.participants, problem.places
    columns = {
        **{f"#/participants/{name}": value for name, value in _columns(people)},
        **{f"#/participants/attributes/{name}": value for name, value in people.attributes.items()},
    }
    yield from _unequal(columns, len(people.id))
    yield from _unequal({f"#/places/{n}": v for n, v in _columns(places)}, len(places.participant))
    for name in ("locks", "blocks", "past_pairs", "current_pairs"):
        pairs: Pairs = getattr(problem, name)
        yield from _unequal({f"#/{name}/second": pairs.second}, len(pairs.first))
    said = problem.preferences
    yield from _unequal({f"#/preferences/{n}": v for n, v in _columns(said)}, len(said.by))


def _columns(table: Participants | Places | Preferences) -> Iterator[tuple[str, Sequence[Any]]]:
    for name in type(table).model_fields:
        value = getattr(table, name)
        if isinstance(value, list):
            yield name, value


def _unequal(columns: Mapping[str, Sequence[Any]], expected: int) -> Iterator[Violation]:
    for pointer, values in columns.items():
        if len(values) != expected:
            detail = f"This column has {len(values)} rows, its table {expected}."
            yield Violation(pointer, "wrong_length", detail)


def repeated(pointer: str, values: Sequence[Any]) -> Iterator[Violation]:
    """Yield a fault for every value that stands there twice."""
    seen = set()
    for place, value in enumerate(values):
        if value in seen:
            yield Violation(f"{pointer}/{place}", "not_unique", "This names the same thing twice.")
        seen.add(value)


def _wrong_places(problem: Problem, formats: Formats) -> Iterator[Violation]:
    places, count = problem.places, len(problem.participants.id)
    yield from repeated("#/places/role", list(zip(places.participant, places.role, strict=True)))
    for row, (participant, role) in enumerate(zip(places.participant, places.role, strict=True)):
        if participant >= count:
            detail = f"There are only {count} participants."
            yield Violation(f"#/places/participant/{row}", "out_of_range", detail)
        if role not in formats[problem.format]:
            detail = f"The format {problem.format} has no {role}."
            yield Violation(f"#/places/role/{row}", "role_not_allowed", detail)
    for row, minimum in enumerate(places.minimum or ()):
        if 0 < places.capacity[row] < minimum:
            detail = "The smallest size is above the largest."
            yield Violation(f"#/places/minimum/{row}", "minimum_above_capacity", detail)


def _unknown_locks(problem: Problem) -> Iterator[Violation]:
    known = set(problem.participants.id)
    for name, values in (("first", problem.locks.first), ("second", problem.locks.second)):
        for row, value in enumerate(values):
            if value not in known:
                yield Violation(f"#/locks/{name}/{row}", "unknown_reference", NOBODY_HERE)


def _wrong_vectors(problem: Problem) -> Iterator[Violation]:
    people = problem.participants
    # Those of another model are not read at all.
    if people.vector_model != text.name_of(problem.policy.text_model):
        return
    for name in ("path_now_vector", "path_target_vector"):
        for row in text.wrong_vectors(getattr(people, name) or ()):
            detail = f"This is no vector of {people.vector_model}."
            yield Violation(f"#/participants/{name}/{row}", "wrong_vector", detail)


def _too_many(problem: Problem, max_cells: int) -> Iterator[Violation]:
    roles = problem.places.role
    first = sum(role in FIRST_ROLES or role is Role.PEER for role in roles)
    second = sum(role in SECOND_ROLES or role is Role.PEER for role in roles)
    if first * second > max_cells:
        detail = f"There are {first * second} pairs; at most {max_cells} are solved at once."
        yield Violation("#/places", "too_many_pairs", detail)


# The policy.


def policy_faults(policy: Policy, people: Participants | None) -> list[Violation]:
    """Return what is wrong with a policy; attributes are judged where people are given."""
    return [
        *_rule_faults("#/policy/hard", policy.hard, HARD_RULES, people),
        *_rule_faults("#/policy/soft", policy.soft, SOFT_RULES, people),
        *_unknown_model(policy),
    ]


def _unknown_model(policy: Policy) -> Iterator[Violation]:
    if text.name_of(policy.text_model) not in text.names():
        yield embeddings.unknown_model("#/policy/text_model")


def _rule_faults(
    pointer: str,
    rules: Sequence[HardRule | SoftRule],
    known: Mapping[str, tuple[str, ...]],
    people: Participants | None,
) -> Iterator[Violation]:
    for place, one in enumerate(rules):
        params = _said(one)
        found = list(faults_of_rule(f"{pointer}/{place}", one.rule, params, known))
        yield from found
        if not found and people is not None and _lacks(people, params.get("attribute")):
            detail = "No participant has an attribute of this name."
            yield Violation(f"{pointer}/{place}/params/attribute", "unknown_attribute", detail)


def _said(rule: HardRule | SoftRule) -> dict[str, Any]:
    """Return the parameters of a rule; null means left out."""
    return {name: value for name, value in sorted(rule.params.items()) if value is not None}


def _lacks(people: Participants, attribute: str | None) -> bool:
    if attribute is None:
        return False
    return attribute not in columns.BUILT_IN and attribute not in people.attributes


# The canonical form.


def canonical[Asked: Problem](problem: Asked) -> Asked:
    """Return the same problem with every table in one order, whatever order it came in."""
    people, places = problem.participants, problem.places
    order = sorted(range(len(people.id)), key=people.id.__getitem__)
    moved = {row: place for place, row in enumerate(order)}
    attributes = {
        name: [people.attributes[name][row] for row in order] for name in sorted(people.attributes)
    }
    participants = people.model_copy(
        update={**_reordered(_columns(people), order), "attributes": attributes}
    )
    renumbered = places.model_copy(
        update={"participant": [moved[row] for row in places.participant]}
    )
    seats = sorted(
        range(len(places.role)),
        key=lambda row: (renumbered.participant[row], renumbered.role[row]),
    )
    return problem.model_copy(
        update={
            "participants": participants,
            "places": renumbered.model_copy(update=_reordered(_columns(renumbered), seats)),
            "locks": _sorted_pairs(problem.locks, is_ordered=problem.format not in _EITHER_WAY),
            **{
                name: _sorted_pairs(getattr(problem, name), is_ordered=False)
                for name in ("blocks", "past_pairs", "current_pairs")
            },
            "preferences": _sorted_preferences(problem.preferences),
            "policy": problem.policy.model_copy(
                update={
                    "hard": _with_params(problem.policy.hard),
                    "soft": _with_params(problem.policy.soft),
                }
            ),
            "seed": problem.policy.seed if problem.seed is None else problem.seed,
        }
    )


def _reordered(
    columns: Iterable[tuple[str, Sequence[Any]]], order: Sequence[int]
) -> dict[str, list[Any]]:
    return {name: [values[row] for row in order] for name, values in columns}


def _sorted_pairs(pairs: Pairs, *, is_ordered: bool) -> Pairs:
    """Return each pair once, in order; where sides do not matter the lower id comes first."""
    rows = zip(pairs.first, pairs.second, strict=True)
    distinct = sorted({row if is_ordered else (min(row), max(row)) for row in rows})
    return Pairs(first=[one for one, _ in distinct], second=[other for _, other in distinct])


def _sorted_preferences(said: Preferences) -> Preferences:
    ranks = said.rank or [None] * len(said.by)
    rows = sorted(
        zip(said.by, said.about, said.mark, ranks, strict=True),
        key=lambda row: (row[0], row[1], row[2], row[3] or 0),
    )
    return Preferences(
        by=[row[0] for row in rows],
        about=[row[1] for row in rows],
        mark=[row[2] for row in rows],
        rank=[row[3] for row in rows],
    )


def _with_params[Rule: (HardRule, SoftRule)](rules: Sequence[Rule]) -> list[Rule]:
    return [rule.model_copy(update={"params": _said(rule)}) for rule in rules]


def digest(problem: Problem) -> str:
    """Return the SHA-256 of a canonical problem; what is left out counts as never said."""
    content = problem.model_dump(mode="json", exclude_none=True, exclude={"policy": {"tests"}})
    return "sha256:" + hashlib.sha256(to_json(_by_name(content))).hexdigest()


def _by_name(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _by_name(value[name]) for name in sorted(value)}
    return value


def stable_order(ids: Sequence[str], seed: int) -> list[str]:
    """Return ids in an order that favors nobody and that the seed alone decides."""
    return sorted(ids, key=lambda one: hashlib.sha256(f"{seed}:{one}".encode()).digest())
