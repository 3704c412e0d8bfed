"""Bodies of match runs and explanations."""

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.match_runs.rules import RunKind, RunMode, RunStatus
from services.api.participants.schemas import Actions, Count, Cursor, Version
from services.api.programs.rules import TrackRole
from services.api.programs.schemas import PolicyId, Seed, TrackId
from shared.schemas.base import Body, Id, Json, Line, PublicId, Timestamp
from shared.web.pagination import Page

RunId = Annotated[UUID, Id("match_run")]
ProposalId = Annotated[UUID, Id("proposal")]
SeedOrUsual = Annotated[
    Seed,
    Field(description="Makes equal choices the same way each time; the policy's where left out."),
]
Figure = Annotated[float, Field(ge=-1e12, le=1e12, json_schema_extra={"format": "double"})]
Score = Annotated[int, Field(ge=0, le=100, json_schema_extra={"format": "int32"}, examples=[72])]
Word = Annotated[str, Field(max_length=200, examples=["offers_wants"])]
Params = Annotated[
    dict[str, Json],
    Field(max_length=50, description="What fills the text of the key, in every language."),
]


class RunCreate(Body):
    """Which track to match, and whether for real."""

    id: RunId | None = None
    track_id: TrackId
    mode: RunMode = Field(
        RunMode.REAL, description="A `dry_run` only shows what would be proposed."
    )
    kind: RunKind = Field(
        RunKind.POOL,
        description=(
            "`pool` matches everybody who has a place. `fill` lets those who wait join groups and "
            "circles that are there and have places. `roulette` draws pairs by chance that "
            "repeat as little as can be; the same seed is the same draw."
        ),
    )
    seed: SeedOrUsual | None = None
    policy_id: PolicyId | None = Field(None, description="The track's policy where left out.")


class Rerun(Body):
    """How to run again."""

    seed: SeedOrUsual | None = None


class RunsQuery(Page):
    """Filters of a program's runs."""

    track_id: Annotated[
        TrackId | SkipJsonSchema[None], Field(description="Only runs of this track.")
    ] = None
    status: Annotated[
        Annotated[list[RunStatus], MaxLen(10)] | SkipJsonSchema[None],
        Field(description="Only runs in one of these states."),
    ] = None


Pair = Annotated[
    str,
    Line(61, "par_01kajv7v1cefh8ws6q1fyv4m2z,par_01kajv7v1cefh8ws6q1fyv4m30"),
    Field(description="Two participants, separated by a comma."),
]


class ProgressView(TypedDict):
    """How far a run is; nothing while it has not begun or once it has ended."""

    phase: Word | None
    done: Count | None
    total: Count | None
    eta_seconds: Figure | None


class FairnessView(TypedDict):
    """How evenly scores of 0-100 fall: those of all pairs inside a run's proposals.

    In a group each mentee is a pair with the mentor, in a circle any two of its mentors and
    mentees are one. So the minimum may lie below the `min_score` of the run: a proposal has the
    mean of its pairs.
    """

    minimum: Figure | None
    fifth_percentile: Figure | None
    gini: Figure | None


class RunFairnessView(TypedDict):
    """How evenly the scores of all pairs inside one run's proposals fall."""

    match_run_id: Annotated[str, PublicId("match_run")]
    fairness: FairnessView


class ReasonView(TypedDict):
    """A text key and what fills it."""

    rule: Word
    key: Word
    params: Params


class StatsView(TypedDict):
    """A run in figures."""

    people: Count
    matched: Count
    proposals: Count
    mean_score: Annotated[
        Figure | None, Field(description="Mean over all pairs inside the proposals, 0-100.")
    ]
    min_score: Annotated[
        Figure | None,
        Field(
            description=(
                "Least score of a proposal, 0-100; a group or circle has the mean of its pairs, "
                "each of which `fairness` looks at."
            )
        ),
    ]
    seconds: Figure
    blocking_pairs: Annotated[
        int,
        Field(
            ge=-1,
            description="Two people who would both rather have each other; -1 if not counted.",
        ),
    ]
    repeated: Annotated[
        Count | None,
        Field(description="Of a draw: pairs who had met, in an earlier draw or otherwise."),
    ]
    criteria: Annotated[
        dict[str, Figure], Field(max_length=50, description="Mean value of each criterion, 0-1.")
    ]
    fairness: FairnessView
    warnings: Annotated[list[ReasonView], MaxLen(200)]


class CertificateView(TypedDict):
    """What is guaranteed of a run's result, and what made it."""

    kind: Annotated[str, Field(max_length=20, examples=["optimal"])]
    objective: Word
    primal: Annotated[int, Field(json_schema_extra={"format": "int64"})]
    dual: Annotated[
        Annotated[int, Field(json_schema_extra={"format": "int64"})] | None,
        Field(
            description=(
                "The bound of `primal`; null where there is none, as of the objective `stable`, "
                "whose proof is that no two would both rather have each other."
            )
        ),
    ]
    gap: Figure | None
    method: Word
    engine: Word
    text_model: Word
    digest: Word


class UnmatchedView(TypedDict):
    """Somebody who has places left, and why."""

    participant_id: Annotated[str, PublicId("participant")]
    role: TrackRole
    free: Count
    rule: Word
    key: Word
    params: Params


class FailureView(TypedDict):
    """One thing that was wrong with a run."""

    pointer: Annotated[
        str,
        Field(
            max_length=2000,
            description="Where in what matching was given, as `#/policy` and what stands in it.",
            examples=["#/policy/hard/0/params/attribute"],
        ),
    ]
    code: Annotated[str, Field(max_length=64, examples=["unknown_attribute"])]
    detail: Annotated[str, Field(max_length=2000)]


class RunView(TypedDict):
    """One execution of matching over frozen inputs."""

    id: Annotated[str, PublicId("match_run")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    track_id: Annotated[str, PublicId("track")]
    mode: RunMode
    kind: RunKind
    policy_id: Annotated[str, PublicId("match_policy")] | None
    policy_version: Version
    seed: Seed
    input_hash: Annotated[str, Field(max_length=80)] | None
    previous_run_id: Annotated[str, PublicId("match_run")] | None
    started_by: Annotated[str, PublicId("person")] | None
    status: RunStatus
    allowed: Actions
    progress: ProgressView
    stats: StatsView | None
    certificate: CertificateView | None
    unmatched: Annotated[
        list[UnmatchedView], MaxLen(1000), Field(description="The first 1000; see the count.")
    ]
    unmatched_count: Count
    proposals_by_status: Annotated[
        dict[str, Count],
        Field(
            max_length=10,
            description=(
                "How many proposals of the run are in each state now. Those that are `proposed` "
                "wait for a decision, also once the run is published."
            ),
            examples=[{"proposed": 2, "awaiting_people": 11}],
        ),
    ]
    failure_code: Annotated[str, Field(max_length=64)] | None
    failure_errors: Annotated[
        list[FailureView],
        MaxLen(100),
        Field(description="What matching refused; nothing where it was not matching."),
    ]


class RunPage(TypedDict):
    """One page of runs."""

    items: Annotated[list[RunView], MaxLen(200)]
    next_cursor: Cursor | None


class PartView(ReasonView):
    """What one criterion gave: points of a score of 100, value of its own best of 1."""

    points: Figure
    weight: Count
    value: Figure


def part_view(value: Mapping[str, Any]) -> PartView:
    """Show a part of a score as it is stored, or as matching said it."""
    return PartView(
        rule=value["rule"],
        key=value["key"],
        params=value["params"],
        points=value["points"],
        weight=value["weight"],
        value=value["value"],
    )


class AlternativeView(TypedDict):
    """Two people who could have been matched instead; those who cost the objective least first."""

    participant_ids: Annotated[list[Annotated[str, PublicId("participant")]], MaxLen(2)]
    score: Figure
    costs_at_least: Annotated[
        Figure | None,
        Field(
            description=(
                "The objective would lose no less than this if the two were together, in points "
                "as a `score` has; ask with `what_if` for the exact change. Null where it would "
                "cost more than points can make up for, as a pair less."
            )
        ),
    ]


WithWhatIf = Annotated[
    bool,
    Field(description="Also match everybody anew with this pair forced; takes twice as long."),
]


class MoveView(TypedDict):
    """Somebody who would move: whom they would lose, and whom they would have for it."""

    participant_id: Annotated[str, PublicId("participant")]
    from_participant_ids: Annotated[list[Annotated[str, PublicId("participant")]], MaxLen(1000)]
    to_participant_ids: Annotated[list[Annotated[str, PublicId("participant")]], MaxLen(1000)]


class WhatIfView(TypedDict):
    """What would become of a run's solution if two people had to be together."""

    is_possible: bool
    reasons: Annotated[
        list[ReasonView],
        MaxLen(50),
        Field(
            description=(
                "Why it is not possible: hard rules, whose places are none "
                "(`why_not.no_place`) or all locked (`why_not.places_locked`), or whose group "
                "would stay too small (`why_not.group_too_small`)."
            )
        ),
    ]
    change: Annotated[
        Figure | None,
        Field(
            description=(
                "By how much the sum of the scores of all pairs would change, exactly, in points "
                "as a `score` has. Null where it is not possible."
            )
        ),
    ]
    moves: Annotated[
        list[MoveView],
        MaxLen(1000),
        Field(description="Everybody whose partners would change; the first 1000, see the count."),
    ]
    moves_count: Count


class ExplanationView(TypedDict):
    """Why two people were put together in a run, or why not."""

    match_run_id: Annotated[str, PublicId("match_run")]
    participant_ids: Annotated[list[Annotated[str, PublicId("participant")]], MaxLen(2)]
    is_matched: Annotated[
        bool,
        Field(description="Whether the run put them together, whatever was swapped since."),
    ]
    is_allowed: Annotated[bool | None, Field(description="Null for members.")]
    score: Figure
    parts: Annotated[list[PartView], MaxLen(50)]
    broken: Annotated[
        list[ReasonView],
        MaxLen(50),
        Field(description="Hard rules that keep them apart; none for members."),
    ]
    why_not: Annotated[list[ReasonView], MaxLen(50)]
    alternatives: Annotated[list[AlternativeView], MaxLen(50)]
    what_if: Annotated[
        WhatIfView | None,
        Field(
            description=(
                "Null where it was not asked for, where the two are together already, and for "
                "members."
            )
        ),
    ]
