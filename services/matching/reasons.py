"""Why a kernel left somebody out, in the words of answers."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from services.matching import candidates, explanations
from services.matching.board import Board
from services.matching.kernel.compiling import Ints
from services.matching.kernel.terms import Why
from shared.schemas.matching import Reason, Unmatched

SAID: Mapping[Why, tuple[str, str]] = MappingProxyType(
    {
        Why.NO_CAPACITY: ("capacity", "no_place"),
        Why.OTHERS_CAME_FIRST: ("capacity", "places_taken"),
        Why.NEVER_PRESENT: ("availability", "never_there"),
        Why.TOO_FEW_FACILITATORS: ("facilitators", "too_few_facilitators"),
        Why.CIRCLE_TOO_SMALL: ("size", "circle_too_small"),
        Why.KEPT_APART: ("members", "kept_apart"),
        Why.NOBODY_ALLOWED: ("members", "kept_apart"),
        Why.NO_FACILITATOR_ALLOWED: ("facilitators", "no_facilitator_allowed"),
        Why.TEAM_IS_FULL: ("team", "team_is_full"),
        Why.ODD_ONE_OUT: ("capacity", "odd_one_out"),
        Why.ROLE_IS_MISSING: ("role", "role_is_missing"),
    }
)
"""The rule and the key of each reason."""


def said(why: Why, params: Mapping[str, Any] = MappingProxyType({})) -> Reason:
    """Return a reason in words; `PLACED` is none."""
    rule, key = SAID[why]
    return Reason(rule=rule, key=f"unmatched.{key}", params=dict(params))


def of_side(board: Board, why: Ints, *, is_first: bool) -> list[Unmatched]:
    """Return who of a side was left out; `why` int64[n] has a `Why` for each of them."""
    side, others = (board.first, board.second) if is_first else (board.second, board.first)
    alone = np.flatnonzero(why != Why.PLACED)
    apart = candidates.kept_apart(board, alone, is_first=is_first)
    nobody_there = (others.capacity > 0).sum() <= board.is_peer
    found = []
    for at, place in enumerate(alone.tolist()):
        reason = said(Why(int(why[place])))
        if why[place] == Why.NOBODY_ALLOWED:
            told = explanations.told_of(board, apart[:, at])
            reason = explanations.apart_by(told) if told else said(Why.OTHERS_CAME_FIRST)
        if side.capacity[place] and nobody_there:
            reason = Reason(rule="capacity", key="unmatched.nobody_there")
        found.append(
            Unmatched(
                id=side.ids[place],
                role=side.roles[place],
                free=int(side.capacity[place]),
                reason=reason,
            )
        )
    return found
