"""Bodies of policy checks and simulations."""

from typing import Annotated, TypedDict

from annotated_types import MaxLen, MinLen
from pydantic import Field

from services.api.match_runs.schemas import (
    CertificateView,
    Figure,
    Params,
    ReasonView,
    Word,
)
from services.api.participants.schemas import Count, Key
from services.api.programs.rules import TrackRole
from services.api.programs.schemas import (
    Floor,
    HardRules,
    Objective,
    PolicyId,
    PolicyLimits,
    PolicyTests,
    Seed,
    SoftRules,
    StayBonus,
    TextModel,
    TrackId,
    Weight,
)
from shared.schemas.base import Body, Json, Line, PublicId, Whole

RuleName = Annotated[str, Line(40, "shared_language")]
RuleParams = Annotated[dict[Key, Json], Field(max_length=20)]
Pointer = Annotated[str, Field(max_length=200, examples=["#/policy/soft/1"])]


class DraftHardRule(Body):
    """A hard rule as it is written; whether there is one of that name is a finding."""

    rule: RuleName
    params: RuleParams = Field(default_factory=dict)


class DraftSoftRule(Body):
    """A criterion as it is written."""

    rule: RuleName
    weight: Weight
    params: RuleParams = Field(default_factory=dict)


class PolicyDraft(Body):
    """A policy as a document, with its own tests."""

    hard: Annotated[list[DraftHardRule], MaxLen(50)] = Field(default_factory=list)
    soft: Annotated[list[DraftSoftRule], MaxLen(50)] = Field(default_factory=list)
    objective: Objective = "most_matched"
    floor: Floor = 0
    stay_bonus: StayBonus = 0
    text_model: TextModel = "words"
    seed: Seed = 1
    limits: PolicyLimits = Field(default_factory=PolicyLimits)
    tests: PolicyTests = Field(default_factory=list)


class PolicyCheck(Body):
    """A policy to judge, stored or given; on the pool of a track where one is named."""

    track_id: TrackId | None = None
    policy_id: PolicyId | None = None
    policy: PolicyDraft | None = None


class FindingView(TypedDict):
    """What is wrong (`fault`), doubtful (`doubt`), or not as a test expects (`test`)."""

    kind: Annotated[str, Field(max_length=10, examples=["doubt"])]
    rule: Word | None
    key: Word
    params: Params
    pointer: Pointer


class EffectView(TypedDict):
    """How many pairs a hard rule keeps apart, and how many no other rule does."""

    rule: Word
    pointer: Annotated[Pointer, Field(description="None for rules that always hold.")] | None
    pairs: Count
    only: Count


class CheckedTestView(TypedDict):
    """What became of a test."""

    name: Annotated[str, Field(max_length=120)]
    passed: bool
    found: Annotated[
        Params,
        Field(
            description=(
                "`allowed`, `matched` and `score` of the two; nothing where they are no pair here, "
                "as a finding says."
            )
        ),
    ]


class PolicyCheckView(TypedDict):
    """What can be said about a policy before it is used."""

    valid: bool
    findings: Annotated[list[FindingView], MaxLen(500)]
    pairs: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None
    allowed_pairs: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None
    effects: Annotated[list[EffectView], MaxLen(100)]
    tests: Annotated[list[CheckedTestView], MaxLen(100)]


class GivenPolicy(Body):
    """A policy that is not stored."""

    hard: HardRules = Field(default_factory=list)
    soft: Annotated[SoftRules, MinLen(1)]
    objective: Objective = "most_matched"
    floor: Floor = 0
    stay_bonus: StayBonus = 0
    text_model: TextModel = "words"
    seed: Seed = 1
    limits: PolicyLimits = Field(default_factory=PolicyLimits)


class InventedPool(Body):
    """People who do not exist: the same numbers make the same people."""

    mentors: Annotated[int, Whole(1, 1000, 40)]
    mentees: Annotated[int, Whole(1, 1000, 60)]
    seed: Seed = 1


class PolicySimulation(Body):
    """Which policy to try, and on whom: the track's own pool where nobody is invented."""

    track_id: TrackId
    policy_id: PolicyId | None = None
    policy: GivenPolicy | None = None
    synthetic: InventedPool | None = None


class ScoresView(TypedDict):
    """How the scores of pairs fall."""

    minimum: Figure | None
    fifth_percentile: Figure | None
    median: Figure | None
    mean: Figure | None
    gini: Figure | None


class LeftView(TypedDict):
    """How many get nobody in one role, and the reason that decided it."""

    role: TrackRole
    rule: Word
    key: Word
    count: Count


class PairCountsView(TypedDict):
    """What would become of the present policy's pairs, seen from those who seek."""

    kept: Count
    changed: Count
    lost: Count
    new: Count


class PresentView(TypedDict):
    """The same pool under the track's present policy, and what would become of its pairs."""

    policy_id: Annotated[str, PublicId("match_policy")]
    matched: Count
    scores: ScoresView
    pairs: PairCountsView


class SimulationView(TypedDict):
    """What a policy would do; nothing was stored, nobody was told."""

    track_id: Annotated[str, PublicId("track")]
    policy_id: Annotated[str, PublicId("match_policy")] | None
    is_synthetic: bool
    input_hash: Annotated[str, Field(max_length=80)]
    people: Count
    matched: Count
    proposals: Count
    unmatched: Annotated[list[LeftView], MaxLen(100)]
    scores: ScoresView
    criteria: Annotated[dict[str, Figure], Field(max_length=50)]
    blocking_pairs: Annotated[int, Field(ge=-1)]
    certificate: CertificateView
    warnings: Annotated[list[ReasonView], MaxLen(200)]
    present: PresentView | None
