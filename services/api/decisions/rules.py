"""Who changes places in a swap, and what keeps people apart whoever puts them together."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from services.api.pools.rules import REPORTING_LINE, mentor_first
from services.api.programs.rules import MENTEE_SIDE, MENTOR_SIDE, TrackRole
from shared.errors import ConflictError, Violation

CHECKED_HERE = frozenset({"not_oneself", "not_blocked", "not_ignored"})


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


def rank_in(role: str) -> int:
    """Return where a role stands in a proposal: who leads, then who gives, then who seeks."""
    return 0 if role == TrackRole.FACILITATOR else 2 if role in MENTEE_SIDE else 1


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


def only_matching_judges(hard: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the hard rules of a policy that are not checked here whoever is put together."""
    return frozenset(
        one["rule"]
        for one in hard
        if one["rule"] not in CHECKED_HERE and (one["rule"] != REPORTING_LINE or one["params"])
    )


def pairs_to_judge(members: Sequence[tuple[str, TrackRole]]) -> list[tuple[str, str]]:
    """Return the pairs that matching can judge; none where a side is missing, which is refused."""
    sides = [one for one in members if one[1] is not TrackRole.FACILITATOR]
    has_both = any(role in MENTEE_SIDE for _one, role in sides) and any(
        role in MENTOR_SIDE for _one, role in sides
    )
    if has_both or all(role is TrackRole.PEER for _one, role in sides):
        return mentor_first(sides)
    return []


def broken_policy(broken: Sequence[Mapping[str, Any]]) -> ConflictError:
    """Refuse members whom the policy keeps apart, naming each of its rules once."""
    return hard_rule_failed(
        [
            Violation("#/members", rule, f"The policy keeps two of them apart: {rule}.")
            for rule in dict.fromkeys(one["rule"] for one in broken)
        ]
    )


def seat_taken() -> ConflictError:
    """Refuse because somebody of the proposal has no free place left."""
    return ConflictError("Somebody here has no free place any more.", code="seat_taken")
