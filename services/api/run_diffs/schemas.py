"""Bodies of comparisons of runs."""

from typing import Annotated, TypedDict

from annotated_types import MaxLen
from pydantic import Field

from services.api.match_runs.rules import RunMode, RunStatus
from services.api.match_runs.schemas import FairnessView, Figure, ReasonView, RunId, Score, Word
from services.api.participants.schemas import Count, Version
from services.api.programs.schemas import Seed
from services.api.run_diffs.rules import Change
from shared.schemas.base import Body, PublicId

Participants = Annotated[list[Annotated[str, PublicId("participant")]], MaxLen(100)]


class RunDiffCreate(Body):
    """Two runs of one track: from which, and to which."""

    base_run_id: RunId
    other_run_id: RunId


class ComparedRunView(TypedDict):
    """One of the two runs in figures."""

    match_run_id: Annotated[str, PublicId("match_run")]
    mode: RunMode
    status: RunStatus
    policy_id: Annotated[str, PublicId("match_policy")] | None
    policy_version: Version
    seed: Seed
    people: Count
    matched: Count
    proposals: Count
    mean_score: Figure | None
    fairness: FairnessView


class SameView(TypedDict):
    """What both runs worked with alike; where all is the same, so are the pairs."""

    input: bool
    policy: bool
    seed: bool


class ComparedPairView(TypedDict):
    """Two people who are together in one of the runs only."""

    participant_ids: Annotated[list[Annotated[str, PublicId("participant")]], MaxLen(2)]
    score: Score | None


class PairsView(TypedDict):
    """What became of pairs, seen from those who seek; the first 1000 of each, and all counted."""

    kept_count: Count
    changed_count: Count
    lost_count: Count
    new_count: Count
    changed: Annotated[
        list[ComparedPairView],
        MaxLen(1000),
        Field(description="As the other run has them; who seeks was with somebody else before."),
    ]
    lost: Annotated[list[ComparedPairView], MaxLen(1000)]
    new: Annotated[list[ComparedPairView], MaxLen(1000)]


class PartChangeView(TypedDict):
    """Points of one criterion in the base and in the other run; 0 without a partner."""

    rule: Word
    base_points: Figure
    other_points: Figure


class PersonChangeView(TypedDict):
    """Somebody for whom something changed."""

    participant_id: Annotated[str, PublicId("participant")]
    change: Change
    base_partner_ids: Participants
    other_partner_ids: Participants
    base_score: Figure | None
    other_score: Figure | None
    why: Annotated[
        list[ReasonView],
        MaxLen(200),
        Field(
            description="The rule, or who was placed instead; why not before, for somebody `new`."
        ),
    ]
    parts: Annotated[list[PartChangeView], MaxLen(50)]


class RunDiffView(TypedDict):
    """What changed from one run to another."""

    track_id: Annotated[str, PublicId("track")]
    base: ComparedRunView
    other: ComparedRunView
    same: SameView
    pairs: PairsView
    people: Annotated[list[PersonChangeView], MaxLen(1000)]
    people_count: Count
    is_explained: Annotated[
        bool,
        Field(
            description="Whether matching could be asked in time; without it `parts` still tell."
        ),
    ]
