"""What matching works on: people under keyed names, frozen as the organization knows them."""

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from functools import cached_property
from itertools import chain, combinations, product, starmap
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from services.api.mentorships.rules import LED_BY
from services.api.participants.rules import ParticipantStatus
from services.api.programs.rules import MENTEE_SIDE, MENTOR_SIDE, Format, MatchMode, TrackRole
from shared import ids

OPAQUE_LENGTH = 24
LONGEST_LINE = 50
LONGEST_TOLD = 64
"""Most people above somebody that matching is told of, the rows they stand in included."""
REPORTING_LINE = "reporting_line_distance"
SOLVED = frozenset(
    {Format.ONE_TO_ONE, Format.REVERSE, Format.PEER, Format.GROUP, Format.SPONSORSHIP}
)
"""Formats that matching solves as one problem of pairs."""
MOST_PAIRS = 1_000_000
"""Most pairs of a problem that a request asks about; a run has no such bound."""
KEPT_APART = ("live", "blocked", "turned_down", "ignored")
"""Parts of a frozen input whose pairs nobody may be matched as."""
RELATIONS = ("past", "live", "blocked", "ignored", "favorites")
"""Parts of a frozen input that say something of two people, whatever a run is about to decide."""
SHORTLISTED = "shortlisted"
PATHS = ("path_now", "path_target")
PATH_FIT = "path_fit"

JOINING: Mapping[Format, frozenset[TrackRole]] = MappingProxyType(
    {
        Format.GROUP: frozenset({TrackRole.MENTEE}),
        Format.CIRCLE: frozenset({TrackRole.MENTOR, TrackRole.MENTEE}),
    }
)
"""As what people join a mentorship that is there; who leads one is not found by filling it."""

OF_A_POLICY = ("hard", "soft", "objective", "floor", "stay_bonus", "text_model", "seed", "limits")
"""What matching is told of a stored policy."""
WORDS = "words"
"""The only way of comparing texts that has vectors."""


@dataclass(frozen=True, slots=True)
class PoolOf:
    """Which pool is meant: a track's, as it is to one run or, without one, to nobody's.

    `as_told` shows it as people know it: of what was approved and told nobody nothing is seen.
    `states` are those of participants who count. `by` says how people are matched: a draw depends
    on earlier ones, and filling on the mentorships that are there.
    """

    organization_id: UUID
    program_id: UUID
    track_id: UUID
    run_id: UUID | None = None
    previous_run_id: UUID | None = None
    as_told: bool = False
    by: MatchMode = MatchMode.POOL
    states: tuple[ParticipantStatus, ...] = (
        ParticipantStatus.AVAILABLE,
        ParticipantStatus.AT_CAPACITY,
    )

    @property
    def is_filled(self) -> bool:
        """Whether mentorships that are there are filled, and none is made."""
        return self.by is MatchMode.FILL


@dataclass(frozen=True, slots=True)
class There:
    """Whom a row of a problem means that stands for a mentorship: a member, or who leads it."""

    mentorship_id: UUID
    participant_id: UUID
    leads: bool


@dataclass(frozen=True)
class FrozenTask:
    """What matching was or is to solve, and whom the opaque ids in it mean.

    `participants` are those who wait; where mentorships are filled, `there` are their members.
    `lost_locks` counts the locks of people who could not be matched at all.
    """

    problem: Mapping[str, Any]
    participants: Mapping[str, UUID]
    by: MatchMode = MatchMode.POOL
    there: Mapping[str, There] = field(default_factory=dict)
    lost_locks: int = 0

    @property
    def is_solved(self) -> bool:
        """Whether it is solved by scores of pairs, so that each pair can be explained."""
        return self.by is not MatchMode.ROULETTE and self.problem["format"] in SOLVED

    @cached_property
    def names(self) -> dict[str, str]:
        """Return the public id behind each opaque one; thousands of pairs are told by it."""
        known = {name: one.participant_id for name, one in self.there.items()}
        known |= self.participants
        return {name: ids.format_id("participant", one) for name, one in known.items()}

    def rows_of(self, participant_id: UUID) -> list[str]:
        """Return the rows in which somebody is: who leads several mentorships is in one of each."""
        return [
            *(name for name, one in self.participants.items() if one == participant_id),
            *(name for name, one in self.there.items() if one.participant_id == participant_id),
        ]

    def pairs_of(self, pair: tuple[UUID, UUID]) -> list[tuple[str, str]] | None:
        """Return the rows in which two people stand on two sides, none where one is not here.

        None says that both are here and on one side only. Who leads a mentorship and seeks a mentor
        too is on either, in rows of their own.
        """
        first, second = (
            {name: roles_of(self.problem, name) for name in self.rows_of(one)} for one in pair
        )
        across = [
            (one, other)
            for one, other in product(first, second)
            if any(starmap(_faces, product(first[one], second[other])))
        ]
        are_here = any(first.values()) and any(second.values())
        return across if across or not are_here else None


def pairs_across[One](members: Sequence[tuple[One, TrackRole]]) -> list[tuple[One, One]]:
    """Return the pairs that a proposal matches; two of the mentee side are merely in one room."""
    return [
        (first, second)
        for (first, first_role), (second, second_role) in combinations(members, 2)
        if not {first_role, second_role} <= MENTEE_SIDE
    ]


def mentor_first[One: (str, UUID)](
    members: Sequence[tuple[One, TrackRole]],
) -> list[tuple[One, One]]:
    """Return each of a mentor side with each of its mentee side, or two peers as they stand."""
    below = [one for one, role in members if role in MENTEE_SIDE]
    above = [one for one, role in members if role not in MENTEE_SIDE]
    if not below:
        return list(combinations(sorted(above), 2))
    return list(product(above, below))


def turned_down[One: (str, UUID)](
    members: Sequence[tuple[One, TrackRole]],
) -> list[tuple[One, One]]:
    """Return the pairs that a coordinator turns down with a proposal: who was to help whom.

    Whoever facilitates may lead the same people in another circle.
    """
    return mentor_first([one for one in members if one[1] is not TrackRole.FACILITATOR])


def declined[One](
    members: Sequence[tuple[One, TrackRole]], by: Collection[One]
) -> list[tuple[One, One]]:
    """Return the pairs kept apart once somebody has declined: those with whoever did."""
    return [pair for pair in pairs_across(members) if not by or not {*pair}.isdisjoint(by)]


@dataclass(frozen=True, slots=True)
class Drawn:
    """An earlier draw: the pairs it put together, and who was left."""

    pairs: Sequence[tuple[str, str]]
    left: Collection[str]


def history_of(draws: Sequence[Drawn]) -> dict[str, list[list[Any]]]:
    """Return who met how often and how many draws ago, and who was left how often.

    The oldest draw comes first.
    """
    times, last = Counter[tuple[str, str]](), dict[tuple[str, str], int]()
    for ago, one in zip(range(len(draws), 0, -1), draws, strict=True):
        for first, second in one.pairs:
            pair = (min(first, second), max(first, second))
            times[pair] += 1
            last[pair] = ago
    # Somebody with two roles may be left in one of them only.
    left = Counter(name for one in draws for name in {*one.left}.difference(*one.pairs))
    return {
        "met": [[*pair, count, last[pair]] for pair, count in sorted(times.items())],
        "sat_out": [[name, count] for name, count in sorted(left.items())],
    }


# Names and digests that leave the organization's own tables.


def organization_secret(secret: bytes, organization_id: UUID) -> bytes:
    """Return the key under which one organization's ids are hidden, the same for ever."""
    return hmac.digest(secret, b"match_runs\x1f" + organization_id.bytes, hashlib.sha256)


def opaque_id(key: bytes, person_id: UUID) -> str:
    """Return the name matching knows a person by: stable, and meaningless elsewhere."""
    return hmac.digest(key, person_id.bytes, hashlib.sha256).hex()[:OPAQUE_LENGTH]


def past_hash(key: bytes, person_id: UUID) -> str:
    """Return the keyed hash under which it is kept whom somebody was matched with."""
    return hmac.digest(key, b"past" + person_id.bytes, hashlib.sha256).hex()


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# What a run works on: frozen as the organization knows it, told to matching in columns.


def grade_rank(grade: str | None, grade_order: Sequence[str]) -> int | None:
    """Return the place of a grade in the organization's order; unlisted is unknown."""
    return grade_order.index(grade) if grade in grade_order else None


def pool_entry(
    row: Mapping[str, Any],
    *,
    key: bytes,
    grade_order: Sequence[str],
    managers: Mapping[UUID, UUID],
    matchable: Collection[str],
) -> dict[str, Any]:
    """Return what a run freezes of one participant in one role: no names, no addresses."""
    place = [row[name] for name in ("site", "city", "country") if row[name]]
    wants, offers = row["wants"] or {}, row["offers"] or {}
    return {
        "id": opaque_id(key, row["person_id"]),
        "role": row["role"],
        "seats": int(row["seats"]),
        "line": [opaque_id(key, one) for one in line_above(row["person_id"], managers)],
        "grade_rank": grade_rank(row["grade"], grade_order),
        "department": row["department"],
        "location": ", ".join(place)[:200] or None,
        "timezone": row["timezone"],
        "hired_on": row["hired_on"].isoformat() if row["hired_on"] else None,
        "languages": row["languages"] or [row["locale"].partition("-")[0]],
        "values": row["values"] or [],
        "path_now": row["path_now"],
        "path_target": row["path_target"],
        "wants": {"encouragement": wants.get("encouragement"), "challenge": wants.get("challenge")},
        "offers": {
            "encouragement": offers.get("encouragement"),
            "challenge": offers.get("challenge"),
        },
        "wants_skills": row["wants_skills"] or [],
        "offers_skills": row["offers_skills"] or [],
        "attributes": {
            name: value for name, value in sorted(row["answers"].items()) if name in matchable
        },
    }


def line_above(person_id: UUID, managers: Mapping[UUID, UUID]) -> list[UUID]:
    """Return everybody above a person, nearest first."""
    line: list[UUID] = []
    above = managers.get(person_id)
    while above is not None and above not in line and len(line) < LONGEST_LINE:
        line.append(above)
        above = managers.get(above)
    return line


def still_together[One](
    format_: Format, members: Sequence[tuple[One, TrackRole]], there: Container[One]
) -> list[tuple[One, TrackRole]]:
    """Return who of a lock stays together where only some of its people can be matched now.

    A group goes on without a mentee who is missing; of anything else all are there, or none stay.
    """
    left = [one for one in members if one[0] in there]
    if len(left) == len(members):
        return left
    goes_on = format_ is Format.GROUP and len({role in MENTEE_SIDE for _one, role in left}) > 1
    return left if goes_on else []


def without_repeats(groups: Sequence[list[dict[str, str]]]) -> list[list[dict[str, str]]]:
    """Return groups of locked members in a fixed order, each once."""
    ordered = [sorted(group, key=lambda one: (one["id"], one["role"])) for group in groups]
    return sorted(
        (group for index, group in enumerate(ordered) if group not in ordered[:index]),
        key=lambda group: [one["id"] for one in group],
    )


def problem_of(
    frozen: Mapping[str, Any], *, as_of: date, policy: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return the problem matching is given: the frozen input in columns."""
    track, there = frozen["track"], rows_there(frozen)
    waiting = _waiting(frozen)
    entries = [*_above_told(waiting, there), *(one.entry for one in there)]
    people = list({one["id"]: one for one in entries}.values())
    rows = {one["id"]: index for index, one in enumerate(people)}
    seen = _Sight({one["id"] for one in waiting}, there)
    more = MORE_OF_A_FORMAT.get(track["format"], _nothing_more)(frozen)
    return {
        "format": _form(frozen),
        "policy": policy_of(policy, synonyms=frozen["synonyms"]),
        "track": {name: value for name, value in track.items() if name != "format"},
        "participants": {
            "id": [one["id"] for one in people],
            "reporting_line": [one["line"] for one in people],
            "skills_offered": [one["offers_skills"] for one in people],
            "skills_wanted": [one["wants_skills"] for one in people],
            "languages": [one["languages"] for one in people],
            "utc_offset_minutes": [offset_minutes(one["timezone"], as_of) for one in people],
            "grade_rank": [one["grade_rank"] for one in people],
            "department": [one["department"] for one in people],
            "location": [one["location"] for one in people],
            "tenure_months": [tenure_months(one["hired_on"], as_of) for one in people],
            "values": [one["values"] for one in people],
            "path_now": [one["path_now"] for one in people],
            "path_target": [one["path_target"] for one in people],
            "wants_encouragement": [one["wants"]["encouragement"] for one in people],
            "wants_challenge": [one["wants"]["challenge"] for one in people],
            "offers_encouragement": [one["offers"]["encouragement"] for one in people],
            "offers_challenge": [one["offers"]["challenge"] for one in people],
            "attributes": _attribute_columns(people),
        },
        "places": {
            "participant": [rows[one["id"]] for one in entries],
            "role": [one["role"] for one in entries],
            "capacity": [one["seats"] for one in entries],
        },
        "locks": _columns(
            seen.pairs(
                pair
                for group in frozen["locks"]
                for pair in mentor_first([(one["id"], TrackRole(one["role"])) for one in group])
            )
        ),
        # A coordinator locks knowing the policy, and what no longer may be must not stop a run.
        "locks_yield": True,
        # Who ignores whom is told to nobody, so it looks like every other reason to keep apart.
        "blocks": _columns(
            sorted(
                {
                    *seen.pairs(chain.from_iterable(frozen[name] for name in KEPT_APART)),
                    *seen.own(),
                }
            )
        ),
        "past_pairs": _columns(seen.pairs(frozen["past"])),
        "current_pairs": _columns(seen.pairs(frozen["current"])),
        "preferences": _favorites(
            seen.said(frozen["favorites"]) if weighs(policy, SHORTLISTED) else []
        ),
        "seed": seed,
        **more,
        **_of_earlier_draws(frozen),
    }


def _form(frozen: Mapping[str, Any]) -> str:
    """Return as what format matching is asked."""
    format_: str = frozen["track"]["format"]
    return FILLED_AS.get(Format(format_), format_) if "there" in frozen else format_


def _favorites(said: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    return {
        "by": [by for by, _about in said],
        "about": [about for _by, about in said],
        "mark": ["favorite"] * len(said),
    }


# Mentorships that are there and are to be filled: rows of their own, as who is in one may wait for
# another as well, and may be in several.


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a problem that stands for members of a mentorship.

    `entry` is what is known of `person`; what keeps anybody of `stands_for` from somebody keeps the
    row from them. `opens` is how many places it has, on the row that leads the mentorship.
    """

    mentorship: str
    entry: Mapping[str, Any]
    person: str
    stands_for: frozenset[str]
    opens: int | None = None


def takes_more(format_: Format, roles: Collection[TrackRole]) -> bool:
    """Tell whether people of these roles can be joined: somebody leads, and somebody is led."""
    return LED_BY[format_] in roles and not JOINING[format_].isdisjoint(roles)


def rows_there(frozen: Mapping[str, Any]) -> list[Row]:
    """Return the rows of the mentorships that a frozen input has, who leads each first."""
    track = frozen["track"]
    return [
        row for one in frozen.get("there", ()) for row in ROWS_OF_A_FORMAT[track["format"]](one)
    ]


def _row_of_group(there: Mapping[str, Any]) -> list[Row]:
    """Return a group as its mentor, who is kept from whomever anybody in it is kept from."""
    return [_leading(there, TrackRole.MENTOR, there["members"], seats=there["places"])]


def _rows_of_circle(there: Mapping[str, Any]) -> list[Row]:
    """Return a circle as whoever leads it, and everybody else as they are."""
    members: Sequence[Mapping[str, Any]] = there["members"]
    leaders = [one for one in members if one["role"] == TrackRole.FACILITATOR]
    return [
        _leading(there, TrackRole.FACILITATOR, leaders, seats=1),
        *(
            Row(
                mentorship=there["id"],
                entry={**one, "id": one["seat"], "seats": 1},
                person=one["id"],
                stands_for=frozenset({one["id"]}),
            )
            for one in members
            if one["role"] != TrackRole.FACILITATOR
        ),
    ]


def _leading(
    there: Mapping[str, Any],
    role: TrackRole,
    members: Sequence[Mapping[str, Any]],
    *,
    seats: int,
) -> Row:
    lead = next(one for one in members if one["role"] == role)
    # Whoever reports to anybody in it reports to the row, and the other way round.
    line = dict.fromkeys(chain.from_iterable(one["line"] for one in members))
    return Row(
        mentorship=there["id"],
        entry={**lead, "id": there["id"], "seats": seats, "line": [*line][:LONGEST_TOLD]},
        person=lead["id"],
        stands_for=frozenset({there["id"], *(one["id"] for one in members)}),
        opens=there["places"],
    )


ROWS_OF_A_FORMAT: Mapping[Format, Callable[[Mapping[str, Any]], list[Row]]] = MappingProxyType(
    {Format.GROUP: _row_of_group, Format.CIRCLE: _rows_of_circle}
)
"""As which rows matching is told of a mentorship that is there."""
FILLED_AS: Mapping[Format, str] = MappingProxyType({Format.GROUP: Format.ONE_TO_ONE.value})
"""Formats whose filling is another problem: a group takes each mentee by themselves."""


def _waiting(frozen: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return who waits; who is locked to a mentorship waits in that role only."""
    people: list[Mapping[str, Any]] = frozen["people"]
    if "there" not in frozen:
        return people
    locked = {one["id"]: one["role"] for group in frozen["locks"] for one in group}
    return [one for one in people if locked.get(one["id"], one["role"]) == one["role"]]


def _above_told(
    waiting: Sequence[Mapping[str, Any]], there: Sequence[Row]
) -> list[Mapping[str, Any]]:
    """Return who waits, with the rows of members who stand above them in their lines."""
    if not there:
        return [*waiting]
    seen = _Sight({one["id"] for one in waiting}, there)
    return [
        {**one, "line": [*chain.from_iterable(map(seen.named, one["line"]))][:LONGEST_TOLD]}
        for one in waiting
    ]


class _Sight:
    """Whom a problem sees: who waits, and members of mentorships by the rows they stand in."""

    def __init__(self, waiting: Collection[str], there: Sequence[Row]) -> None:
        self._waiting, self._there = frozenset(waiting), there
        self._rows: dict[str, list[str]] = {}
        self._persons: dict[str, list[str]] = {}
        for row in there:
            self._persons.setdefault(row.person, []).append(row.entry["id"])
            for one in sorted(row.stands_for):
                self._rows.setdefault(one, []).append(row.entry["id"])

    def named(self, one: str) -> list[str]:
        """Return the names somebody goes by; their own where no row stands for them."""
        rows = self._rows.get(one, [])
        return [one, *rows] if self._waits(one) else rows

    def _waits(self, one: str) -> bool:
        """Tell whether somebody stands for themselves: they wait, or are in nothing that is."""
        return one in self._waiting or one not in self._rows

    def pairs(self, pairs: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
        """Return pairs as far as somebody of them waits, with a row that stands for the other.

        Rows come first, as the mentor side does.
        """
        found = list[tuple[str, str]]()
        for first, second in pairs:
            if self._waits(first) and self._waits(second):
                found.append((first, second))
            for one, other in ((first, second), (second, first)):
                if self._waits(one):
                    found += [(row, one) for row in self._rows.get(other, ())]
        return found

    def said(self, said: Iterable[Sequence[str]]) -> list[tuple[str, str]]:
        """Return what one said about another, with a row in place of whoever it shows."""
        found = list[tuple[str, str]]()
        for by, about in said:
            if self._waits(by) and self._waits(about):
                found.append((by, about))
            if self._waits(by):
                found += [(by, row) for row in self._persons.get(about, ())]
            if self._waits(about):
                found += [(row, about) for row in self._persons.get(by, ())]
        return found

    def own(self) -> list[tuple[str, str]]:
        """Return who waits beside the rows of mentorships they are in: nobody joins their own."""
        return [
            (row.entry["id"], one)
            for row in self._there
            for one in sorted(row.stands_for)
            if one in self._waiting
        ]


def _nothing_more(_frozen: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _of_circles(frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a problem of circles says beside: who stays together, and what they may share.

    Locked people are in one circle each with their roles, which pairs could not tell of somebody
    who leads several.
    """
    if "there" in frozen:
        return _of_circles_there(frozen)
    kept = [(one, circle) for circle, group in enumerate(frozen["locks"]) for one in group]
    return {
        "locks": _columns(()),
        "there": {
            "id": [one["id"] for one, _circle in kept],
            "role": [one["role"] for one, _circle in kept],
            "circle": [circle for _one, circle in kept],
        },
        "common_ground": {"columns": ["values"]},
    }


def _of_circles_there(frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a problem says of circles that have begun: who is in them, and what is free."""
    rows = rows_there(frozen)
    number = {
        one: circle for circle, one in enumerate(dict.fromkeys(one.mentorship for one in rows))
    }
    opened = [one for one in rows if one.opens is not None]
    return {
        "there": {
            "id": [one.entry["id"] for one in rows],
            "role": [one.entry["role"] for one in rows],
            "circle": [number[one.mentorship] for one in rows],
        },
        "openings": {
            "circle": [number[one.mentorship] for one in opened],
            "places": [one.opens for one in opened],
        },
        "common_ground": {"columns": ["values"]},
    }


SIZES = frozenset({"min_members", "max_members"})


def rests_on(
    known: Mapping[str, Any], *, person: str, role: str, mentorship: str
) -> dict[str, Any] | None:
    """Return what it rests on that somebody joins a mentorship; None where they no longer could.

    How many places are free is left out: those are held, or are counted anew.
    """
    entry = next(
        (one for one in known["people"] if (one["id"], one["role"]) == (person, role)), None
    )
    there = next((one for one in known["there"] if one["id"] == mentorship), None)
    if entry is None or there is None:
        return None
    others = {mentorship, *(one["id"] for one in there["members"])}
    return {
        "track": {name: one for name, one in known["track"].items() if name not in SIZES},
        "person": {name: one for name, one in entry.items() if name != "seats"},
        "members": there["members"],
        **{
            name: sorted(
                pair for pair in known[name] if person in pair and not others.isdisjoint(pair)
            )
            for name in RELATIONS
        },
    }


MORE_OF_A_FORMAT: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = MappingProxyType(
    {Format.CIRCLE: _of_circles}
)
"""What matching is told of a format beside its people and pairs."""


def _of_earlier_draws(frozen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a draw is told of earlier ones; nothing where pairs are not drawn."""
    if "met" not in frozen:
        return {}
    met, sat_out = frozen["met"], frozen["sat_out"]
    return {
        "met": {
            name: [one[place] for one in met]
            for place, name in enumerate(("first", "second", "times", "ago"))
        },
        "sat_out": {
            name: [one[place] for one in sat_out] for place, name in enumerate(("id", "times"))
        },
    }


def texts_to_compare(problem: Mapping[str, Any]) -> list[str]:
    """Return the texts of a problem that become vectors, each once; none where none is used."""
    policy = problem["policy"]
    if not weighs(policy, PATH_FIT) or policy["text_model"] != WORDS:
        return []
    people = problem["participants"]
    return sorted({text for name in PATHS for text in people[name] if text})


def text_hash(text: str) -> bytes:
    """Return what a text is known by; the database's own SHA-256 of UTF-8 is the same."""
    return hashlib.sha256(text.encode()).digest()


def with_vectors(
    problem: Mapping[str, Any], *, model: str, vectors: Mapping[str, bytes]
) -> dict[str, Any]:
    """Return a problem that brings along what a model made of its texts, as far as it is known."""
    people = problem["participants"]
    told = {text: base64.b64encode(vector).decode() for text, vector in vectors.items()}
    columns = {f"{name}_vector": [told.get(one) for one in people[name]] for name in PATHS}
    return {**problem, "participants": {**people, "vector_model": model, **columns}}


def narrowed(problem: Mapping[str, Any], roles: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return a problem of some of its people, each in some of their roles, and free of locks."""
    people, places = problem["participants"], problem["places"]
    kept = [row for row, name in enumerate(people["id"]) if name in roles]
    rows = {row: index for index, row in enumerate(kept)}

    def column(values: Sequence[Any]) -> list[Any]:
        return [values[row] for row in kept]

    held = [
        index
        for index, (row, role) in enumerate(zip(places["participant"], places["role"], strict=True))
        if row in rows and role in roles[people["id"][row]]
    ]
    return {
        **problem,
        "participants": {
            **{name: column(one) for name, one in people.items() if name != "attributes"},
            "attributes": {name: column(one) for name, one in people["attributes"].items()},
        },
        "places": {
            "participant": [rows[places["participant"][one]] for one in held],
            "role": [places["role"][one] for one in held],
            "capacity": [places["capacity"][one] for one in held],
        },
        "locks": _columns(()),
        "blocks": _among(problem["blocks"], roles),
        "past_pairs": _among(problem["past_pairs"], roles),
        "current_pairs": _among(problem["current_pairs"], roles),
    }


def seating(problem: Mapping[str, Any], roles: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return a problem in which only some have a place, each in some roles; nobody is locked.

    Everybody else is still known, as what is rare among people depends on all of them.
    """
    names, places = problem["participants"]["id"], problem["places"]
    held = [
        index
        for index, (row, role) in enumerate(zip(places["participant"], places["role"], strict=True))
        if role in roles.get(names[row], ())
    ]
    return {
        **problem,
        "places": {name: [column[one] for one in held] for name, column in places.items()},
        "locks": _columns(()),
        "locks_yield": False,
    }


def count_pairs(problem: Mapping[str, Any]) -> int:
    """Count the pairs of a problem: everybody who might face whom, rules aside."""
    roles: Sequence[str] = problem["places"]["role"]
    peers = sum(role == TrackRole.PEER for role in roles)
    below = sum(role in MENTEE_SIDE for role in roles)
    return peers**2 + below * sum(role in MENTOR_SIDE for role in roles)


def roles_of(problem: Mapping[str, Any], name: str) -> list[TrackRole]:
    """Return the roles in which somebody has a free place."""
    names, places = problem["participants"]["id"], problem["places"]
    return [
        TrackRole(role)
        for row, role in zip(places["participant"], places["role"], strict=True)
        if names[row] == name
    ]


def _faces(one: TrackRole, other: TrackRole) -> bool:
    """Tell whether people in two roles may be a pair; equals face each other."""
    if one in MENTOR_SIDE:
        return other in MENTEE_SIDE
    if one in MENTEE_SIDE:
        return other in MENTOR_SIDE
    return one is other is TrackRole.PEER


def _among(pairs: Mapping[str, Sequence[str]], names: Collection[str]) -> dict[str, list[str]]:
    return _columns(
        pair
        for pair in zip(pairs["first"], pairs["second"], strict=True)
        if pair[0] in names and pair[1] in names
    )


type Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What became of pairs: the same, with somebody else instead, alone now, or matched at last."""

    kept: frozenset[Pair]
    changed: frozenset[Pair]
    lost: frozenset[Pair]
    new: frozenset[Pair]


def difference(base: Collection[Pair], other: Collection[Pair], *, is_peer: bool) -> Difference:
    """Compare two ways to match, seen from those who seek: the second of a pair, or both peers.

    `changed` holds the pairs as they are in `other`.
    """
    gone, come = set(base) - set(other), set(other) - set(base)

    def seeking(pairs: Collection[Pair]) -> set[str]:
        return {one for pair in pairs for one in (pair if is_peer else pair[1:])}

    moved = seeking(gone) & seeking(come)
    changed = frozenset(pair for pair in come if seeking([pair]) & moved)
    return Difference(
        kept=frozenset(set(base) & set(other)),
        changed=changed,
        lost=frozenset(pair for pair in gone if not seeking([pair]) & moved),
        new=frozenset(come - changed),
    )


def policy_of(policy: Mapping[str, Any], *, synonyms: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return a policy as matching takes it; nobody is matched inside one reporting line.

    `synonyms` are the organization's: words of one skill each.
    """
    hard = list(policy["hard"])
    if not any(one["rule"] == REPORTING_LINE and not one["params"] for one in hard):
        hard.append({"rule": REPORTING_LINE, "params": {}})
    return {
        **{name: policy[name] for name in OF_A_POLICY},
        "hard": hard,
        "synonyms": synonyms,
    }


def weighs(policy: Mapping[str, Any], rule: str) -> bool:
    """Tell whether a criterion counts for anything in a policy."""
    return any(one["rule"] == rule and one["weight"] for one in policy["soft"])


def _columns(pairs: Iterable[tuple[str, ...]]) -> dict[str, list[str]]:
    listed = list(pairs)
    return {"first": [one[0] for one in listed], "second": [one[1] for one in listed]}


def _attribute_columns(people: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = sorted({name for one in people for name in one["attributes"]})
    return {name: [one["attributes"].get(name) for one in people] for name in names}


def offset_minutes(timezone: str, day: date) -> int | None:
    """Return how far a time zone is from UTC at noon of a day."""
    offset = datetime.combine(day, time(12), ZoneInfo(timezone)).utcoffset()
    return None if offset is None else int(offset.total_seconds() // 60)


def tenure_months(hired_on: str | None, day: date) -> int | None:
    """Return for how many months somebody has been there, 0 when they have yet to start."""
    if hired_on is None:
        return None
    since = date.fromisoformat(hired_on)
    return max(0, (day.year - since.year) * 12 + day.month - since.month)


def revealed(value: Any, names: Mapping[str, str]) -> Any:
    """Return a JSON value with opaque ids replaced by what the organization calls them."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {key: revealed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [revealed(one, names) for one in value]
    return value
