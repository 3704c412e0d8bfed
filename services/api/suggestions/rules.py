"""Where suggestions are offered, whom they leave out, and what of a reason is told."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from services.api.participants.rules import ParticipantStatus
from services.api.pools import rules as pools
from services.api.pools.rules import SHORTLISTED
from services.api.programs.rules import (
    MATCHING,
    MENTEE_SIDE,
    MENTOR_SIDE,
    MatchMode,
    ProgramStatus,
    TrackRole,
)
from services.api.proposals.rules import is_told
from shared.errors import ConflictError, Violation

OFFERED_IN = frozenset({MatchMode.REQUEST, MatchMode.RANKED})
"""Ways to match in which people choose each other."""

PREFERRED_ROLES = (TrackRole.MENTEE, TrackRole.PROTEGE, TrackRole.PEER)
FACING: Mapping[TrackRole, frozenset[TrackRole]] = MappingProxyType(
    {
        **dict.fromkeys(MENTEE_SIDE, MENTOR_SIDE),
        **dict.fromkeys(MENTOR_SIDE, MENTEE_SIDE),
        TrackRole.PEER: frozenset({TrackRole.PEER}),
    }
)
"""Who faces whom: suggestions for a role come from these."""

OFFERED_TO_SEEKERS = frozenset({"style_fit"})
"""What mentors offer and mentees wish: an offer is there to be found, a wish is confided."""


def not_available(reason: str, detail: str) -> ConflictError:
    """Refuse because nobody is suggested to this participant now."""
    return ConflictError(detail, code="not_available", errors=[Violation("#", reason, detail)])


def require_offered(
    *,
    modes: Collection[str],
    has_policy: bool,
    program: ProgramStatus,
    is_paused: bool,
    participant: ParticipantStatus,
) -> None:
    """Refuse where people do not choose each other, not yet, or not this one."""
    checks = (
        (
            OFFERED_IN.isdisjoint(modes),
            "match_modes",
            "In this track people do not choose each other.",
        ),
        (not has_policy, "no_policy", "The track has no match policy to rank by."),
        (
            program not in MATCHING,
            "program_status",
            "The program is neither in matching nor running.",
        ),
        (is_paused, "matching_paused", "Matching is paused in this program."),
        (
            participant is not ParticipantStatus.AVAILABLE,
            "participant_status",
            "You do not take part in matching now, or every place of yours is taken.",
        ),
    )
    for is_broken, reason, detail in checks:
        if is_broken:
            raise not_available(reason, detail)


def role_among(held: Sequence[TrackRole], wanted: TrackRole | None) -> TrackRole:
    """Return for which of somebody's roles to look: as they say, else the one that seeks."""
    if wanted is not None:
        if wanted in held and wanted in FACING:
            return wanted
    elif found := [one for one in (*PREFERRED_ROLES, *sorted(MENTOR_SIDE)) if one in held]:
        return found[0]
    raise not_available("role", "You have no free place in this role here.")


def seen_by(problem: Mapping[str, Any], me: str, role: TrackRole) -> dict[str, Any]:
    """Return a problem of one person and everybody who might face them, in their own view.

    Whoever is kept apart from them or was with them before is left out. So is what others noted,
    and every criterion that rests on what they may not read: neither scores nor their order may
    tell of it. Whoever seeks also compares how much encouragement and challenge others offer.
    """
    left_out = {
        other
        for name in ("blocks", "past_pairs")
        for pair in zip(problem[name]["first"], problem[name]["second"], strict=True)
        if me in pair
        for other in pair
    } - {me}
    places = problem["places"]
    names = problem["participants"]["id"]
    facing = {
        names[row]
        for row, one in zip(places["participant"], places["role"], strict=True)
        if one in FACING[role] and names[row] not in left_out
    } - {me}
    narrowed = pools.narrowed(problem, {me: {role}, **dict.fromkeys(sorted(facing), FACING[role])})
    said = problem["preferences"]
    own = [
        (about, mark)
        for by, about, mark in zip(said["by"], said["about"], said["mark"], strict=True)
        if by == me and about in facing
    ]
    narrowed["preferences"] = {
        "by": [me] * len(own),
        "about": [about for about, _mark in own],
        "mark": [mark for _about, mark in own],
    }
    known = {SHORTLISTED, *(OFFERED_TO_SEEKERS if role in MENTEE_SIDE else ())}
    policy = problem["policy"]
    narrowed["policy"] = policy | {
        "soft": [
            one
            for one in policy["soft"]
            if one["rule"] in known or is_told(one["rule"], one["params"])
        ]
    }
    return narrowed
