"""States of runs and proposals (domain 5.3), who is asked, and keyed names, as data."""

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from itertools import combinations, product
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from services.api.access.rules import Declaration, Scope
from services.api.programs.rules import MENTEE_SIDE, ConsentSides, ProgramStatus, TrackRole
from shared.errors import ConflictError, Violation


class RunMode(StrEnum):
    """Whether a run's proposals may become mentorships."""

    REAL = "real"
    DRY_RUN = "dry_run"


class RunKind(StrEnum):
    """What a run does."""

    POOL = "pool"
    FILL = "fill"
    ROULETTE = "roulette"


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    REVIEW = "review"
    SIMULATED = "simulated"
    FAILED = "failed"
    DISCARDED = "discarded"
    PUBLISHED = "published"


class RunAction(StrEnum):
    """What can happen to a run; the first half happens by itself."""

    CLAIM = "claim"
    FINISH = "finish"
    SIMULATE = "simulate"
    FAIL = "fail"
    DISCARD = "discard"
    RERUN = "rerun"
    PUBLISH = "publish"


class ProposalStatus(StrEnum):
    """Where a proposal stands."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    SWAPPED = "swapped"
    AWAITING_PEOPLE = "awaiting_people"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"


class ProposalAction(StrEnum):
    """What can happen to a proposal."""

    APPROVE = "approve"
    REJECT = "reject"
    SWAP = "swap"
    PUBLISH = "publish"
    CONSENT = "consent"
    DECLINE = "decline"
    EXPIRE = "expire"


_R, _D = RunStatus, RunAction
RUN_TRANSITIONS: Mapping[tuple[RunStatus, RunAction], RunStatus] = MappingProxyType(
    {
        (_R.QUEUED, _D.CLAIM): _R.RUNNING,
        (_R.QUEUED, _D.FAIL): _R.FAILED,
        (_R.RUNNING, _D.FINISH): _R.REVIEW,
        (_R.RUNNING, _D.SIMULATE): _R.SIMULATED,
        (_R.RUNNING, _D.FAIL): _R.FAILED,
        (_R.REVIEW, _D.RERUN): _R.DISCARDED,
        (_R.REVIEW, _D.DISCARD): _R.DISCARDED,
        (_R.REVIEW, _D.PUBLISH): _R.PUBLISHED,
    }
)
RUN_ACTIONS_BY_ITSELF = frozenset({_D.CLAIM, _D.FINISH, _D.SIMULATE, _D.FAIL})
UNFINISHED = frozenset({_R.QUEUED, _R.RUNNING})

_S, _A = ProposalStatus, ProposalAction
PROPOSAL_TRANSITIONS: Mapping[tuple[ProposalStatus, ProposalAction], ProposalStatus] = (
    MappingProxyType(
        {
            (_S.PROPOSED, _A.APPROVE): _S.APPROVED,
            (_S.PROPOSED, _A.REJECT): _S.REJECTED,
            (_S.APPROVED, _A.REJECT): _S.REJECTED,
            (_S.PROPOSED, _A.SWAP): _S.SWAPPED,
            (_S.APPROVED, _A.SWAP): _S.SWAPPED,
            (_S.APPROVED, _A.PUBLISH): _S.AWAITING_PEOPLE,
            (_S.AWAITING_PEOPLE, _A.CONSENT): _S.ACCEPTED,
            (_S.AWAITING_PEOPLE, _A.DECLINE): _S.DECLINED,
            (_S.AWAITING_PEOPLE, _A.EXPIRE): _S.EXPIRED,
        }
    )
)
PROPOSAL_ACTIONS_BY_ITSELF = frozenset({_A.PUBLISH, _A.EXPIRE})
_DECIDER = Declaration("match_run.decide", Scope.MATCHING_PUBLISH)
_COORDINATOR = Declaration("proposal.decide", Scope.MATCHING_RUN)
_ASKED = Declaration("proposal.answer", Scope.MENTORSHIPS_WRITE)

RUN_NEEDS: Mapping[RunAction, Declaration] = MappingProxyType(
    dict.fromkeys(set(RunAction) - RUN_ACTIONS_BY_ITSELF, _DECIDER)
)
PROPOSAL_NEEDS: Mapping[ProposalAction, Declaration] = MappingProxyType(
    {
        **dict.fromkeys((_A.APPROVE, _A.REJECT, _A.SWAP), _COORDINATOR),
        **dict.fromkeys((_A.CONSENT, _A.DECLINE), _ASKED),
    }
)
"""What each step demands that somebody asks for by name."""

OPEN = frozenset({_S.PROPOSED, _S.APPROVED})
"""States in which a coordinator still decides, and in which nobody was told."""

HOLDING = frozenset({_S.APPROVED, _S.AWAITING_PEOPLE})
"""States in which a proposal itself holds the seats of its members."""

TOLD = frozenset({_S.AWAITING_PEOPLE, _S.ACCEPTED, _S.DECLINED, _S.EXPIRED})
"""States that exist only once people were asked."""

MATCHING_PROGRAM = frozenset({ProgramStatus.MATCHING, ProgramStatus.RUNNING})

REMIND_AFTER = timedelta(days=3)
EXPIRE_AFTER = timedelta(days=7)
OPAQUE_LENGTH = 24
LONGEST_LINE = 50
REPORTING_LINE = "reporting_line_distance"


def next_run_status(status: RunStatus, action: RunAction) -> RunStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return RUN_TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A run that is {status} cannot be changed by {action}.",
            code="invalid_transition",
            allowed=allowed_run_actions(status),
        ) from None


def allowed_run_actions(status: RunStatus) -> list[RunAction]:
    """Return what somebody may ask for next."""
    return [
        action
        for state, action in RUN_TRANSITIONS
        if state is status and action not in RUN_ACTIONS_BY_ITSELF
    ]


def next_proposal_status(status: ProposalStatus, action: ProposalAction) -> ProposalStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return PROPOSAL_TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A proposal that is {status} cannot be changed by {action}.",
            code="invalid_transition",
            allowed=allowed_proposal_actions(status),
        ) from None


def allowed_proposal_actions(status: ProposalStatus) -> list[ProposalAction]:
    """Return what somebody may ask for next."""
    return [
        action
        for state, action in PROPOSAL_TRANSITIONS
        if state is status and action not in PROPOSAL_ACTIONS_BY_ITSELF
    ]


def require_matching(status: ProgramStatus) -> None:
    """Refuse to match in a program that is not there yet, or no longer."""
    if status not in MATCHING_PROGRAM:
        raise not_ready("program_status", "The program is neither in matching nor running.")


def not_ready(code: str, detail: str) -> ConflictError:
    """Refuse because something is missing that matching needs."""
    return ConflictError(detail, code="not_ready", errors=[Violation("#", code, detail)])


def is_asked(role: TrackRole, sides: ConsentSides) -> bool:
    """Tell whether a member in this role is asked; each peer is a side, so peers always are."""
    if sides is ConsentSides.NONE:
        return False
    if sides is ConsentSides.BOTH or role is TrackRole.PEER:
        return True
    return (role in MENTEE_SIDE) is (sides is ConsentSides.MENTEE_SIDE)


def exchanged[Member: tuple[UUID, TrackRole]](
    first: Sequence[Member], second: Sequence[Member], *, role: TrackRole
) -> tuple[list[Member], list[Member]]:
    """Return the members of two proposals after those in one role have changed places.

    Where both of a pair are in that role, the last of each changes.
    """
    moved_first, moved_second = _last_in(first, role), _last_in(second, role)
    if moved_first is None or moved_second is None or moved_first == moved_second:
        raise ConflictError(
            "Both proposals need somebody else in that role.",
            code="hard_rule_failed",
            errors=[Violation("#/role", "role", "Nobody could change places.")],
        )
    return (
        [moved_second if one == moved_first else one for one in first],
        [moved_first if one == moved_second else one for one in second],
    )


def _last_in[Member: tuple[UUID, TrackRole]](
    members: Sequence[Member], role: TrackRole
) -> Member | None:
    return next((one for one in reversed(members) if one[1] is role), None)


def usual_swap_role(members: Sequence[tuple[UUID, TrackRole]]) -> TrackRole:
    """Return who changes places when nobody says: the mentee side, among peers one peer."""
    roles = [role for _participant, role in members]
    return next((role for role in roles if role in MENTEE_SIDE), roles[-1])


def hard_rule_failed(broken: Sequence[Violation]) -> ConflictError:
    """Refuse members that always-on rules keep apart."""
    return ConflictError(
        "These people cannot be put together; each rule is listed in errors.",
        code="hard_rule_failed",
        errors=broken,
    )


def seat_taken() -> ConflictError:
    """Refuse because somebody of the proposal has no free place left."""
    return ConflictError("Somebody here has no free place any more.", code="seat_taken")


def pairs_across(members: Sequence[tuple[UUID, TrackRole]]) -> list[tuple[UUID, UUID]]:
    """Return the pairs that a proposal matches; two of the mentee side are merely in one room."""
    return [
        (first, second)
        for (first, first_role), (second, second_role) in combinations(members, 2)
        if not {first_role, second_role} <= MENTEE_SIDE
    ]


def mentor_first(
    members: Sequence[tuple[str, TrackRole]],
) -> list[tuple[str, str]]:
    """Return each of a mentor side with each of its mentee side, or two peers as they stand."""
    below = [one for one, role in members if role in MENTEE_SIDE]
    above = [one for one, role in members if role not in MENTEE_SIDE]
    if not below:
        return list(combinations(sorted(above), 2))
    return list(product(above, below))


# Names and digests that leave the organization's own tables.


def organization_secret(secret: bytes, organization_id: UUID) -> bytes:
    """Return the key under which one organization's ids are hidden, the same for ever."""
    return hmac.digest(secret, b"match_runs\x1f" + organization_id.bytes, hashlib.sha256)


def opaque_id(key: bytes, person_id: UUID) -> str:
    """Return the name matching knows a person by: stable, and meaningless elsewhere."""
    return hmac.digest(key, person_id.bytes, hashlib.sha256).hex()[:OPAQUE_LENGTH]


def pair_hash(key: bytes, first: UUID, second: UUID) -> str:
    """Return the keyed hash of two people, whichever comes first."""
    low, high = sorted((first, second))
    return hmac.digest(key, b"pair" + low.bytes + high.bytes, hashlib.sha256).hex()


def pairs_of_hashes(
    people: Sequence[UUID], hashes: Collection[str], key: bytes
) -> set[tuple[UUID, UUID]]:
    """Return the pairs of people that the hashes stand for."""
    if not hashes:
        return set()
    return {pair for pair in combinations(sorted(people), 2) if pair_hash(key, *pair) in hashes}


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
    entries: Sequence[Mapping[str, Any]] = frozen["people"]
    people = list({one["id"]: one for one in entries}.values())
    rows = {one["id"]: index for index, one in enumerate(people)}
    track = frozen["track"]
    return {
        "format": track["format"],
        "policy": policy_of(policy),
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
            pair
            for group in frozen["locks"]
            for pair in mentor_first([(one["id"], TrackRole(one["role"])) for one in group])
        ),
        "blocks": _columns(
            sorted({*map(tuple, (*frozen["live"], *frozen["blocked"], *frozen["turned_down"]))})
        ),
        "past_pairs": _columns(map(tuple, frozen["past"])),
        "seed": seed,
    }


def policy_of(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy as matching takes it; nobody is matched inside one reporting line."""
    hard = list(policy["hard"])
    if not any(one["rule"] == REPORTING_LINE and not one["params"] for one in hard):
        hard.append({"rule": REPORTING_LINE, "params": {}})
    return {
        "hard": hard,
        "soft": policy["soft"],
        "objective": policy["objective"],
        "seed": policy["seed"],
    }


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
