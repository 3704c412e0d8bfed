"""Reads of the pool: who has a place, who was together before, and what was decided.

One table each, joined in Python: a plan made before the tables were ever counted would pair every
row with every other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Text, Uuid, bindparam, cast, column, func, select, table
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import col

from services.api.compositions.rules import MEETINGS_PER_MENTEE
from services.api.mentorships import rules as mentorship_rules
from services.api.mentorships.queries import MEMBER, MENTORSHIP
from services.api.mentorships.rules import JOINABLE, MemberStatus
from services.api.organizations import queries as organizations
from services.api.organizations import rules as organization_rules
from services.api.participants.queries import PARTICIPANT, PREFERENCE, SEAT
from services.api.participants.rules import ParticipantStatus
from services.api.participants.tables import TextVector
from services.api.people.queries import TABLE as PERSON
from services.api.people.rules import PersonStatus
from services.api.pools import rules
from services.api.pools.rules import Drawn, FrozenTask, PoolOf
from services.api.programs.rules import MENTEE_SIDE, Format, FormStatus, MatchMode, TrackRole
from services.api.programs.tables import Form, Track
from services.api.shortlists import queries as shortlists
from services.api.shortlists.rules import Mark
from shared.errors import NotFoundError
from shared.persistence.reads import AnySelect, Reader, once

# Runs and proposals lie above the pool in the stack, so their tables are only named here.
_PROPOSAL = table(
    "proposal",
    *(column(name) for name in ("organization_id", "id", "track_id", "run_id", "status")),
    *(column(name) for name in ("is_locked", "decided_by", "mentorship_id")),
)
_PROPOSED = table(
    "proposal_member",
    *(column(name) for name in ("organization_id", "proposal_id", "participant_id", "role")),
    column("answer"),
)
_RUN = table(
    "match_run",
    *(column(name) for name in ("organization_id", "id", "track_id", "kind", "status", "mode")),
    *(column("created_at"), column("unmatched", JSONB)),
)
_PAST = table(
    "past_pair", *(column(name) for name in ("organization_id", "first_hash", "second_hash"))
)
VECTOR = TextVector.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker
TRACK = Track.__table__  # type: ignore[attr-defined]  # SQLModel hides it from the checker

PROPOSED, APPROVED, AWAITING = "proposed", "approved", "awaiting_people"
ACCEPTED, REJECTED, DECLINED = "accepted", "rejected", "declined"
DREW_TOGETHER = frozenset({AWAITING, ACCEPTED})
"""States of a proposal whose people an earlier draw has put together."""
HELD = frozenset({APPROVED, AWAITING})
"""States of a proposal that holds places."""
TOLD_AND_APART = frozenset({AWAITING, DECLINED})
"""States of a proposal, known to its members, that keep them from being proposed again."""

_ORGANIZATION = bindparam("organization_id", type_=Uuid)
_MATCHABLE_PEOPLE = ("pending", "active")
_LIVE = ("pending_start", "active", "paused", "closing")


def _is_one_of(value: Any) -> Any:
    return value == func.any(bindparam("ids", type_=ARRAY(Uuid)))


@once
def _track() -> AnySelect:
    return select(
        *(TRACK.c[name] for name in ("format", "seniority", "grade_gap_min", "grade_gap_max")),
        *(TRACK.c[name] for name in ("min_members", "max_members")),
    ).where(
        TRACK.c.organization_id == _ORGANIZATION, TRACK.c.id == bindparam("track_id", type_=Uuid)
    )


@once
def _forms() -> AnySelect:
    return select(col(Form.fields).label("fields")).where(
        col(Form.organization_id) == _ORGANIZATION,
        col(Form.program_id) == bindparam("program_id", type_=Uuid),
        cast(col(Form.status), Text) == FormStatus.PUBLISHED.value,
    )


@once
def _seats() -> AnySelect:
    return (
        select(
            SEAT.c.participant_id,
            cast(SEAT.c.role, Text).label("role"),
            *(SEAT.c.capacity, SEAT.c.load, SEAT.c.held),
        )
        .where(
            SEAT.c.organization_id == _ORGANIZATION,
            SEAT.c.track_id == bindparam("track_id", type_=Uuid),
        )
        .order_by(SEAT.c.participant_id, SEAT.c.role)
    )


@once
def _taking_part() -> AnySelect:
    return select(
        PARTICIPANT.c.id,
        PARTICIPANT.c.person_id,
        cast(PARTICIPANT.c.status, Text).label("status"),
        PARTICIPANT.c.answers,
    ).where(
        PARTICIPANT.c.organization_id == _ORGANIZATION,
        PARTICIPANT.c.program_id == bindparam("program_id", type_=Uuid),
        cast(PARTICIPANT.c.status, Text) == func.any(bindparam("states", type_=ARRAY(Text))),
    )


@once
def _members_taking_part() -> AnySelect:
    return select(
        *(PARTICIPANT.c[name] for name in ("id", "person_id", "answers")),
    ).where(PARTICIPANT.c.organization_id == _ORGANIZATION, _is_one_of(PARTICIPANT.c.id))


@once
def _people() -> AnySelect:
    return select(
        *(PERSON.c[name] for name in ("id", "grade", "department", "country", "city", "site")),
        *(PERSON.c[name] for name in ("timezone", "locale", "hired_on")),
    ).where(
        PERSON.c.organization_id == _ORGANIZATION,
        _is_one_of(PERSON.c.id),
        cast(PERSON.c.status, Text) == func.any(bindparam("states", type_=ARRAY(Text))),
    )


@once
def _preferences() -> AnySelect:
    return select(
        *(PREFERENCE.c[name] for name in ("participant_id", "values", "path_now", "path_target")),
        *(PREFERENCE.c[name] for name in ("wants", "offers", "wants_skills", "offers_skills")),
        PREFERENCE.c.languages,
    ).where(PREFERENCE.c.organization_id == _ORGANIZATION, _is_one_of(PREFERENCE.c.participant_id))


@once
def _managers() -> AnySelect:
    return select(PERSON.c.id, PERSON.c.manager_id).where(
        PERSON.c.organization_id == _ORGANIZATION, PERSON.c.manager_id.is_not(None)
    )


@once
def _memberships() -> AnySelect:
    return select(
        MEMBER.c.mentorship_id, MEMBER.c.person_id, cast(MEMBER.c.role, Text).label("role")
    ).where(MEMBER.c.organization_id == _ORGANIZATION, _is_one_of(MEMBER.c.person_id))


@once
def _mentorships() -> AnySelect:
    return select(
        MENTORSHIP.c.id, MENTORSHIP.c.track_id, cast(MENTORSHIP.c.status, Text).label("status")
    ).where(
        MENTORSHIP.c.organization_id == _ORGANIZATION,
        _is_one_of(MENTORSHIP.c.id),
        cast(MENTORSHIP.c.status, Text) != "cancelled",
    )


@once
def _joinable() -> AnySelect:
    """Return the mentorships of a track that somebody can still come into, the oldest first."""
    return (
        select(MENTORSHIP.c.id)
        .where(
            MENTORSHIP.c.organization_id == _ORGANIZATION,
            MENTORSHIP.c.track_id == bindparam("track_id", type_=Uuid),
            cast(MENTORSHIP.c.status, Text) == func.any(bindparam("states", type_=ARRAY(Text))),
        )
        .order_by(MENTORSHIP.c.id)
    )


@once
def _present() -> AnySelect:
    """Return who is in mentorships now, in the order they came."""
    return (
        select(
            *(MEMBER.c[name] for name in ("id", "mentorship_id", "participant_id", "person_id")),
            cast(MEMBER.c.role, Text).label("role"),
        )
        .where(
            MEMBER.c.organization_id == _ORGANIZATION,
            _is_one_of(MEMBER.c.mentorship_id),
            cast(MEMBER.c.status, Text) == MemberStatus.ACTIVE.value,
        )
        .order_by(MEMBER.c.mentorship_id, MEMBER.c.id)
    )


@once
def _proposals() -> AnySelect:
    return (
        select(
            *(_PROPOSAL.c[name] for name in ("id", "run_id", "is_locked", "decided_by")),
            _PROPOSAL.c.mentorship_id,
            cast(_PROPOSAL.c.status, Text).label("status"),
        )
        .where(
            _PROPOSAL.c.organization_id == _ORGANIZATION,
            _PROPOSAL.c.track_id == bindparam("track_id", type_=Uuid),
        )
        .order_by(_PROPOSAL.c.id)
    )


@once
def _proposed() -> AnySelect:
    return (
        select(
            _PROPOSED.c.proposal_id,
            _PROPOSED.c.participant_id,
            cast(_PROPOSED.c.role, Text).label("role"),
            _PROPOSED.c.answer,
        )
        .where(_PROPOSED.c.organization_id == _ORGANIZATION, _is_one_of(_PROPOSED.c.proposal_id))
        .order_by(_PROPOSED.c.proposal_id, _PROPOSED.c.participant_id)
    )


@once
def _draws() -> AnySelect:
    """Return the runs of a track whose pairs were drawn and published, the oldest first."""
    return (
        select(_RUN.c.id, _RUN.c.unmatched)
        .where(
            _RUN.c.organization_id == _ORGANIZATION,
            _RUN.c.track_id == bindparam("track_id", type_=Uuid),
            cast(_RUN.c.kind, Text) == MatchMode.ROULETTE.value,
            cast(_RUN.c.status, Text) == "published",
        )
        .order_by(_RUN.c.created_at, _RUN.c.id)
    )


@once
def _simulated() -> AnySelect:
    """Return the runs of a track that only showed what would be proposed."""
    return select(_RUN.c.id).where(
        _RUN.c.organization_id == _ORGANIZATION,
        _RUN.c.track_id == bindparam("track_id", type_=Uuid),
        cast(_RUN.c.mode, Text) == "dry_run",
    )


@once
def _past_pairs() -> AnySelect:
    return select(_PAST.c.first_hash, _PAST.c.second_hash).where(
        _PAST.c.organization_id == _ORGANIZATION
    )


_NOTHING_SAID: Mapping[str, Any] = dict.fromkeys(
    ("values", "path_now", "path_target", "wants", "offers", "wants_skills", "offers_skills")
) | {"languages": None}


async def read(reader: Reader, *, of: PoolOf, secret: bytes) -> dict[str, Any]:
    """Return everything a run works on, under opaque ids, and whom those ids mean."""
    key = rules.organization_secret(secret, of.organization_id)
    track = await terms(reader, organization_id=of.organization_id, track_id=of.track_id)
    rows = await _pool(reader, of, track)
    if of.by is MatchMode.ROULETTE and track["format"] == Format.FLASH:
        rows = await _without_who_met_enough(reader, of, rows)
    there: list[_Opening] = []
    if of.is_filled:
        rows = [row for row in rows if row["role"] in rules.JOINING[track["format"]]]
        there = await _openings(reader, of, track)
    organization = await organizations.get(reader, organization_id=of.organization_id)
    forms = await reader.fetch(
        _forms(), organization_id=of.organization_id, program_id=of.program_id
    )
    matchable = {
        field["key"] for form in forms for field in form["fields"] if field.get("matchable")
    }
    managers = await _reporting(reader, of)
    members = [row for one in there for row in one.members]
    known = {row["person_id"]: row["participant_id"] for row in [*rows, *members]}
    past, live = await _history(reader, of, list(known), key)
    names = {participant_id: rules.opaque_id(key, one) for one, participant_id in known.items()}
    names |= {one.mentorship_id: rules.opaque_id(key, one.mentorship_id) for one in there}

    decided, lost = await _decided(reader, of, names, Format(track["format"]))

    def entry(row: Mapping[str, Any]) -> dict[str, Any]:
        return rules.pool_entry(
            row,
            key=key,
            grade_order=organization["grade_order"],
            managers=managers,
            matchable=matchable,
        )

    return {
        "input": {
            "track": track,
            "people": [entry(row) for row in rows],
            "synonyms": organization_rules.synonyms(
                organization["skills"], locale=organization["default_locale"]
            ),
            "past": past,
            "live": live,
            **decided,
            **await _marked(reader, of, names),
            **(await _drawn_before(reader, of, names) if of.by is MatchMode.ROULETTE else {}),
            **({"there": [one.frozen(key, entry) for one in there]} if of.is_filled else {}),
        },
        "participants": {names[row["participant_id"]]: str(row["participant_id"]) for row in rows},
        "lost_locks": lost,
        **({"there": _meant(there, key, track)} if of.is_filled else {}),
    }


async def live_task(
    reader: Reader,
    *,
    of: PoolOf,
    policy: Mapping[str, Any],
    seed: int,
    secret: bytes,
    as_of: date,
) -> FrozenTask:
    """Return what a run that began now would work on."""
    found = await read(reader, of=of, secret=secret)
    return FrozenTask(
        problem=rules.problem_of(found["input"], as_of=as_of, policy=policy, seed=seed),
        participants={name: UUID(one) for name, one in found["participants"].items()},
    )


async def terms(reader: Reader, *, organization_id: UUID, track_id: UUID) -> dict[str, Any]:
    """Return what the format and its track demand of every match."""
    row = await reader.fetch_one(_track(), organization_id=organization_id, track_id=track_id)
    if row is None:
        raise NotFoundError
    return {
        name: row[name]
        for name in (
            *("format", "seniority", "grade_gap_min", "grade_gap_max"),
            *("min_members", "max_members"),
        )
    }


async def _pool(reader: Reader, of: PoolOf, track: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return who waits to be matched, role by role; seats the run itself holds count as free."""
    held = await _held_by(reader, of, Format(track["format"]))
    seats_here = await reader.fetch(
        _seats(), organization_id=of.organization_id, track_id=of.track_id
    )
    # Who came without a place is full from the start, waits all the same, and is to be told why
    # nothing follows; what people see of each other shows only who could be chosen.
    empty = {one["participant_id"] for one in seats_here if not of.as_told}
    empty -= {one["participant_id"] for one in seats_here if one["capacity"]}
    freed = {participant_id for participant_id, _role in held}
    taking_part = {
        row["id"]: row
        for row in await reader.fetch(
            _taking_part(),
            organization_id=of.organization_id,
            program_id=of.program_id,
            states=list(of.states),
        )
        if row["status"] != ParticipantStatus.AT_CAPACITY or row["id"] in freed | empty
    }
    known = await _described(reader, of, taking_part, states=_MATCHABLE_PEOPLE)
    found: list[Mapping[str, Any]] = []
    for seat in seats_here:
        seats = seat["capacity"] - seat["load"]
        if not of.as_told:
            seats += held.get((seat["participant_id"], seat["role"]), 0) - seat["held"]
        is_waiting = seats > 0 or seat["participant_id"] in empty
        if seat["participant_id"] in known and is_waiting:
            found.append(
                {**known[seat["participant_id"]], "role": seat["role"], "seats": max(0, seats)}
            )
    return found


async def _described(
    reader: Reader,
    of: PoolOf,
    participants: Mapping[UUID, Mapping[str, Any]],
    *,
    states: Iterable[str],
) -> dict[UUID, Mapping[str, Any]]:
    """Return what is known of participants whose person is in one of these states."""
    people = {
        row["id"]: row
        for row in await reader.fetch(
            _people(),
            organization_id=of.organization_id,
            ids=[row["person_id"] for row in participants.values()],
            states=list(states),
        )
    }
    said = {
        row["participant_id"]: row
        for row in await reader.fetch(
            _preferences(), organization_id=of.organization_id, ids=list(participants)
        )
    }
    return {
        one: {
            **people[row["person_id"]],
            **said.get(one, _NOTHING_SAID),
            "person_id": row["person_id"],
            "participant_id": one,
            "answers": row["answers"],
        }
        for one, row in participants.items()
        if row["person_id"] in people
    }


@dataclass(frozen=True, slots=True)
class _Opening:
    """A mentorship that takes so many more, and who is in it."""

    mentorship_id: UUID
    places: int
    members: Sequence[Mapping[str, Any]]

    def frozen(
        self, key: bytes, entry: Callable[[Mapping[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return what a run freezes of it."""
        return {
            "id": rules.opaque_id(key, self.mentorship_id),
            "places": self.places,
            "members": [
                {**entry(one), "seat": rules.opaque_id(key, one["member_id"])}
                for one in self.members
            ],
        }


def _meant(
    there: Iterable[_Opening], key: bytes, track: Mapping[str, Any]
) -> dict[str, tuple[str, str, bool]]:
    """Return what the rows of a problem mean: the mentorship, the participant, and if they lead."""
    found: dict[str, tuple[str, str, bool]] = {}
    for one in there:
        leads = next(
            row for row in one.members if row["role"] == mentorship_rules.LED_BY[track["format"]]
        )
        name = rules.opaque_id(key, one.mentorship_id)
        found[name] = (str(one.mentorship_id), str(leads["participant_id"]), True)
        if track["format"] == Format.CIRCLE:
            for row in one.members:
                seat = rules.opaque_id(key, row["member_id"])
                found[seat] = (str(one.mentorship_id), str(row["participant_id"]), False)
    return found


async def _openings(reader: Reader, of: PoolOf, track: Mapping[str, Any]) -> list[_Opening]:
    """Return the mentorships of a track that have places left, as far as they are led.

    Places that approved proposals of others hold are taken; those of the run itself are not.
    """
    found, present = await _places(reader, of, track)
    known = await _described_members(
        reader, of, {one["participant_id"] for name in found for one in present[name]}
    )
    return [
        _Opening(
            mentorship_id,
            places,
            [
                {
                    **known[one["participant_id"]],
                    "member_id": one["id"],
                    "role": one["role"],
                    "seats": 1,
                }
                for one in present[mentorship_id]
            ],
        )
        for mentorship_id, places in found.items()
    ]


async def places_there(reader: Reader, *, of: PoolOf) -> dict[UUID, int]:
    """Return the mentorships of a track that can be filled, and how many places each has."""
    track = await terms(reader, organization_id=of.organization_id, track_id=of.track_id)
    found, _present = await _places(reader, of, track)
    return found


async def _places(
    reader: Reader, of: PoolOf, track: Mapping[str, Any]
) -> tuple[dict[UUID, int], dict[UUID, list[Mapping[str, Any]]]]:
    """Return the places of mentorships that can be filled, and who is in any of the track now."""
    format_ = Format(track["format"])
    rows = await reader.fetch(
        _joinable(),
        organization_id=of.organization_id,
        track_id=of.track_id,
        states=[one.value for one in JOINABLE],
    )
    present = await _present_in(reader, of, [row["id"] for row in rows])
    holding = [row for row in await _proposals_of(reader, of) if row["status"] in HELD]
    held = Counter(row["mentorship_id"] for row in holding)
    own = Counter(
        row["mentorship_id"]
        for row in holding
        if row["status"] == APPROVED and row["run_id"] == of.run_id
    )
    time_left = await _time_of_mentors(reader, of) if format_ is Format.GROUP else {}
    found: dict[UUID, int] = {}
    for mentorship_id, members in present.items():
        roles = [(TrackRole(one["role"]), one["person_id"]) for one in members]
        if not rules.takes_more(format_, {role for role, _person in roles}):
            continue
        size = mentorship_rules.size_of(format_, roles) or 0
        room = track["max_members"] - size - held[mentorship_id]
        if format_ is Format.GROUP:
            # Who leads several has their time once: it goes to the oldest first.
            mentor = next(one for one in members if one["role"] == TrackRole.MENTOR)
            room = min(room, time_left.get(mentor["participant_id"], 0))
            time_left[mentor["participant_id"]] = time_left.get(mentor["participant_id"], 0) - max(
                room, 0
            )
        if room + own[mentorship_id] > 0:
            found[mentorship_id] = room + own[mentorship_id]
    return found, present


async def _time_of_mentors(reader: Reader, of: PoolOf) -> dict[UUID, int]:
    """Return for how many more mentees each mentor of a track has time."""
    rows = await reader.fetch(_seats(), organization_id=of.organization_id, track_id=of.track_id)
    return {
        row["participant_id"]: max(row["capacity"] - row["load"] - row["held"], 0)
        for row in rows
        if row["role"] == TrackRole.MENTOR
    }


async def _present_in(
    reader: Reader, of: PoolOf, mentorship_ids: Iterable[UUID]
) -> dict[UUID, list[Mapping[str, Any]]]:
    """Return who is in mentorships now."""
    found: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in await reader.fetch(
        _present(), organization_id=of.organization_id, ids=sorted(mentorship_ids)
    ):
        found.setdefault(row["mentorship_id"], []).append(row)
    return found


async def _described_members(
    reader: Reader, of: PoolOf, participant_ids: Iterable[UUID]
) -> dict[UUID, Mapping[str, Any]]:
    """Return what is known of members, who are members whatever state they are in."""
    rows = await reader.fetch(
        _members_taking_part(), organization_id=of.organization_id, ids=sorted(participant_ids)
    )
    return await _described(
        reader, of, {row["id"]: row for row in rows}, states=[one.value for one in PersonStatus]
    )


async def _held_by(reader: Reader, of: PoolOf, format_: Format) -> Counter[tuple[UUID, str]]:
    """Count the seats that a run's own approved proposals hold."""
    proposals = [
        row
        for row in await _proposals_of(reader, of)
        if of.run_id is not None and row["run_id"] == of.run_id and row["status"] == APPROVED
    ]
    found = Counter[tuple[UUID, str]]()
    for members in (await _members_of(reader, of, proposals)).values():
        roles = [TrackRole(one["role"]) for one in members]
        for member, role in zip(members, roles, strict=True):
            found[member["participant_id"], role.value] += mentorship_rules.places_of(
                format_, role, roles
            )
    return found


async def _proposals_of(reader: Reader, of: PoolOf) -> list[Mapping[str, Any]]:
    return await reader.fetch(
        _proposals(), organization_id=of.organization_id, track_id=of.track_id
    )


async def _members_of(
    reader: Reader, of: PoolOf, proposals: Sequence[Mapping[str, Any]]
) -> dict[UUID, list[Mapping[str, Any]]]:
    """Return the members of proposals; the mentorship that one fills stands beside who joins it."""
    found: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in await reader.fetch(
        _proposed(),
        organization_id=of.organization_id,
        ids=sorted(row["id"] for row in proposals),
    ):
        found.setdefault(row["proposal_id"], []).append(row)
    for row in proposals:
        if row["mentorship_id"] is not None and row["status"] != ACCEPTED:
            found[row["id"]].append(
                {
                    "participant_id": row["mentorship_id"],
                    "role": TrackRole.MENTOR.value,
                    "answer": None,
                }
            )
    return found


async def _reporting(reader: Reader, of: PoolOf) -> dict[UUID, UUID]:
    """Return who reports to whom in the whole organization."""
    rows = await reader.fetch(_managers(), organization_id=of.organization_id)
    return {row["id"]: row["manager_id"] for row in rows}


async def _history(
    reader: Reader, of: PoolOf, known: Sequence[UUID], key: bytes
) -> tuple[list[list[str]], list[list[str]]]:
    """Return who was together before and who is now, as pairs of opaque ids."""
    pairs = await _together(reader, of, known)
    # Hashes outlive the mentorships themselves.
    people = {rules.past_hash(key, one): one for one in known}
    past = set(pairs)
    for row in await reader.fetch(_past_pairs(), organization_id=of.organization_id):
        first, second = people.get(row["first_hash"]), people.get(row["second_hash"])
        if first is not None and second is not None:
            past.add((min(first, second), max(first, second)))

    def opaque(pair: tuple[UUID, UUID]) -> list[str]:
        return sorted(rules.opaque_id(key, one) for one in pair)

    return (
        sorted(opaque(pair) for pair in past),
        sorted(opaque(pair) for pair, is_live in pairs.items() if is_live),
    )


async def _together(
    reader: Reader, of: PoolOf, people: Sequence[UUID]
) -> dict[tuple[UUID, UUID], bool]:
    """Return pairs of people who were in a mentorship together, and whether they are now."""
    members: dict[UUID, list[tuple[UUID, TrackRole]]] = {}
    for row in await reader.fetch(
        _memberships(), organization_id=of.organization_id, ids=list(people)
    ):
        members.setdefault(row["mentorship_id"], []).append(
            (row["person_id"], TrackRole(row["role"]))
        )
    found: dict[tuple[UUID, UUID], bool] = {}
    for row in await reader.fetch(
        _mentorships(), organization_id=of.organization_id, ids=list(members)
    ):
        is_live = row["track_id"] == of.track_id and row["status"] in _LIVE
        for first, second in rules.pairs_across(sorted(members[row["id"]])):
            found[first, second] = is_live or found.get((first, second), False)
    return found


async def _decided(
    reader: Reader, of: PoolOf, names: Mapping[UUID, str], format_: Format
) -> tuple[dict[str, list[Any]], int]:
    """Return pairs that are not to come again and those that are to stay.

    Beside them stands of how many locks somebody cannot be matched now.
    """
    blocked: list[list[str]] = []
    turned_down: list[list[str]] = []
    for pair, status in await _blocked(reader, of):
        if names.keys() >= set(pair):
            where = turned_down if status == REJECTED else blocked
            where.append(sorted(names[one] for one in pair))
    current = [
        sorted(names[one] for one in pair)
        for members in (await _put_together_before(reader, of)).values()
        for pair in rules.pairs_across(
            [(one["participant_id"], TrackRole(one["role"])) for one in members]
        )
        if names.keys() >= set(pair)
    ]
    locks = [
        [(one["participant_id"], TrackRole(one["role"])) for one in members]
        for members in (await locked(reader, of=of)).values()
    ]
    left = [rules.still_together(format_, members, names) for members in locks]
    kept = [[{"id": names[one], "role": role.value} for one, role in members] for members in left]
    found: dict[str, list[Any]] = {
        "blocked": sorted(blocked),
        "turned_down": sorted(turned_down),
        "current": sorted(current),
        "locks": rules.without_repeats([members for members in kept if members]),
    }
    return found, sum(before != after for before, after in zip(locks, left, strict=True))


async def _marked(
    reader: Reader, of: PoolOf, names: Mapping[UUID, str]
) -> dict[str, list[list[str]]]:
    """Return who ignores whom, whichever of the two said so, and who favors whom."""
    ignored, favorites = set(), []
    for row in await shortlists.of_program(
        reader, organization_id=of.organization_id, program_id=of.program_id
    ):
        by, about = names.get(row["participant_id"]), names.get(row["other_id"])
        if by is None or about is None:
            continue
        if row["mark"] == Mark.IGNORE:
            ignored.add((min(by, about), max(by, about)))
        else:
            favorites.append([by, about])
    return {"ignored": sorted(map(list, ignored)), "favorites": sorted(favorites)}


async def _blocked(reader: Reader, of: PoolOf) -> list[tuple[tuple[UUID, UUID], str]]:
    """Return pairs of participants that are not to be proposed, with the state that says so.

    They are held elsewhere, were declined before, or a coordinator turned them down in the run
    that this one repeats.
    """
    proposals = {
        row["id"]: row
        for row in await _proposals_of(reader, of)
        if (of.run_id is None or row["run_id"] != of.run_id) and _keeps_apart(row, of)
    }
    joined = await _present_in(
        reader, of, {row["mentorship_id"] for row in proposals.values()} - {None}
    )
    found = list[tuple[tuple[UUID, UUID], str]]()
    for proposal_id, members in (await _members_of(reader, of, [*proposals.values()])).items():
        row = proposals[proposal_id]
        # Whom a coordinator turned down for one mentorship may meet its people elsewhere.
        beside = [] if row["status"] == REJECTED else joined.get(row["mentorship_id"], [])
        found += [(pair, row["status"]) for pair in _apart_by(row["status"], [*members, *beside])]
    return found


def _apart_by(status: str, members: Sequence[Mapping[str, Any]]) -> list[tuple[UUID, UUID]]:
    """Return the pairs that a proposal in some state keeps apart."""
    everybody = [(one["participant_id"], TrackRole(one["role"])) for one in members]
    if status == REJECTED:
        return rules.turned_down(everybody)
    if status == DECLINED:
        by = {one["participant_id"] for one in members if one.get("answer") == DECLINED}
        return rules.declined(everybody, by)
    return rules.pairs_across(everybody)


def _keeps_apart(row: Mapping[str, Any], of: PoolOf) -> bool:
    if row["status"] == REJECTED:
        is_of_previous = of.previous_run_id is not None and row["run_id"] == of.previous_run_id
        return is_of_previous and row["decided_by"] is not None
    if row["status"] == APPROVED:
        return not of.as_told
    return row["status"] in TOLD_AND_APART


async def _drawn_before(
    reader: Reader, of: PoolOf, names: Mapping[UUID, str]
) -> dict[str, list[list[Any]]]:
    """Return who of the pool was drawn with whom in earlier draws of the track, and who was left.

    A draw counts once it was published, a pair unless its people said no or nothing.
    """
    draws = await reader.fetch(_draws(), organization_id=of.organization_id, track_id=of.track_id)
    of_draw: dict[UUID, list[tuple[UUID, UUID]]] = {row["id"]: [] for row in draws}
    drawn = [
        row
        for row in await _proposals_of(reader, of)
        if row["run_id"] in of_draw and row["status"] in DREW_TOGETHER
    ]
    run_of = {row["id"]: row["run_id"] for row in drawn}
    for proposal_id, members in (await _members_of(reader, of, drawn)).items():
        of_draw[run_of[proposal_id]] += rules.pairs_across(
            [(one["participant_id"], TrackRole(one["role"])) for one in members]
        )
    return rules.history_of(
        [
            Drawn(
                pairs=[
                    (names[first], names[second])
                    for first, second in of_draw[row["id"]]
                    if names.keys() >= {first, second}
                ],
                left={
                    names[who]
                    for one in row["unmatched"]
                    # Nobody sits out who has no place to be drawn for.
                    if one["key"] != "unmatched.no_place"
                    if (who := UUID(one["participant_id"])) in names
                },
            )
            for row in draws
        ]
    )


async def _without_who_met_enough(
    reader: Reader, of: PoolOf, rows: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return a pool of flash meetings without mentees who have had all of theirs."""
    met: Counter[UUID] = Counter()
    memberships: dict[UUID, list[UUID]] = {}
    for row in await reader.fetch(
        _memberships(),
        organization_id=of.organization_id,
        ids=[row["person_id"] for row in rows if row["role"] in MENTEE_SIDE],
    ):
        memberships.setdefault(row["mentorship_id"], []).append(row["person_id"])
    for row in await reader.fetch(
        _mentorships(), organization_id=of.organization_id, ids=list(memberships)
    ):
        if row["track_id"] == of.track_id:
            met.update(memberships[row["id"]])
    return [
        row
        for row in rows
        if row["role"] not in MENTEE_SIDE or met[row["person_id"]] < MEETINGS_PER_MENTEE
    ]


async def locked(reader: Reader, *, of: PoolOf) -> dict[UUID, list[Mapping[str, Any]]]:
    """Return the members of earlier proposals that a coordinator wants kept, by proposal.

    What fills a mentorship is kept where mentorships are filled, and everything else elsewhere.
    What was only simulated decides nothing.
    """
    simulated = {
        row["id"]
        for row in await reader.fetch(
            _simulated(), organization_id=of.organization_id, track_id=of.track_id
        )
    }
    kept = [
        row
        for row in await _proposals_of(reader, of)
        if row["is_locked"] and (of.run_id is None or row["run_id"] != of.run_id)
        if row["run_id"] not in simulated
        if _may_be_kept(row)
        if (row["mentorship_id"] is not None) is of.is_filled
    ]
    return await _members_of(reader, of, kept)


async def _put_together_before(reader: Reader, of: PoolOf) -> dict[UUID, list[Mapping[str, Any]]]:
    """Return the members of what the run that this one repeats had proposed, by proposal."""
    if of.previous_run_id is None:
        return {}
    kept = [
        row
        for row in await _proposals_of(reader, of)
        if row["run_id"] == of.previous_run_id and _may_be_kept(row)
    ]
    return await _members_of(reader, of, kept)


def _may_be_kept(row: Mapping[str, Any]) -> bool:
    was_put_aside = row["status"] == REJECTED and row["decided_by"] is None
    return row["status"] == PROPOSED or was_put_aside


@once
def _vectors() -> AnySelect:
    return select(VECTOR.c.text_hash, VECTOR.c.vector).where(
        VECTOR.c.organization_id == _ORGANIZATION,
        VECTOR.c.model == bindparam("model", type_=Text),
        VECTOR.c.text_hash == func.any(bindparam("hashes", type_=ARRAY(LargeBinary))),
    )


async def vectors(
    reader: Reader, *, organization_id: UUID, model: str, texts: Iterable[str]
) -> dict[str, bytes]:
    """Return what is kept of what a model made of texts."""
    hashes = {rules.text_hash(text): text for text in texts}
    rows = await reader.fetch(
        _vectors(), organization_id=organization_id, model=model, hashes=list(hashes)
    )
    return {hashes[row["text_hash"]]: row["vector"] for row in rows}
