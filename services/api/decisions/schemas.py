"""Bodies of proposals and of decisions on them."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from services.api.match_runs.schemas import PartView, ReasonView, Score
from services.api.participants.schemas import Actions, Cursor, ParticipantId, Version
from services.api.programs.rules import TrackRole
from services.api.proposals.rules import ProposalStatus
from shared.schemas.base import Body, Id, PublicId, Timestamp
from shared.web.pagination import Page

ProposalId = Annotated[UUID, Id("proposal")]


class ProposedMember(Body):
    """A participant, and as what they would be a member."""

    participant_id: ParticipantId
    role: TrackRole


class ProposalCreate(Body):
    """Who is to be put together by hand."""

    id: ProposalId | None = None
    members: Annotated[list[ProposedMember], MinLen(2), MaxLen(101)]
    force: Annotated[
        bool,
        Field(
            description="Set hard rules of the policy aside; the proposal then names them in"
            " `forced`. Rules that always hold are never set aside.",
        ),
    ] = False


class Swap(Body):
    """With which proposal members change places."""

    with_proposal_id: ProposalId
    role: Annotated[
        TrackRole | None,
        Field(description="Who changes places; the mentee side where left out."),
    ] = None


class ProposalsQuery(Page):
    """Filters of proposals."""

    status: Annotated[
        Annotated[list[ProposalStatus], MaxLen(10)] | SkipJsonSchema[None],
        Field(description="Only proposals in one of these states."),
    ] = None


class ProposalMemberView(TypedDict):
    """A member of a proposal; members see their own answer only."""

    participant_id: Annotated[str, PublicId("participant")]
    person_id: Annotated[str, PublicId("person")]
    role: TrackRole
    is_asked: bool
    answer: Annotated[str, Field(max_length=16, examples=["consented"])] | None
    answered_at: Timestamp | None


class PresentMemberView(TypedDict):
    """Somebody who is in the mentorship that a proposal fills; nobody asks them."""

    participant_id: Annotated[str, PublicId("participant")]
    person_id: Annotated[str, PublicId("person")]
    role: TrackRole


class ProposalView(TypedDict):
    """Members suggested to be put together; without a score where nothing computed one."""

    id: Annotated[str, PublicId("proposal")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    program_id: Annotated[str, PublicId("program")]
    track_id: Annotated[str, PublicId("track")]
    run_id: Annotated[str, PublicId("match_run")] | None
    members: Annotated[list[ProposalMemberView], MaxLen(101)]
    score: Annotated[
        Score | None,
        Field(description="Null where nothing computed one, and for members of more than two."),
    ]
    parts: Annotated[
        list[PartView],
        MaxLen(50),
        Field(
            description=(
                "What each criterion gave; of more than two, the mean of all pairs. Members read "
                "`params` of what they share only, and no criterion that tells who marked whom; of "
                "more than two, what all have in common: their own part is in the explanation."
            )
        ),
    ]
    status: ProposalStatus
    allowed: Actions
    forced: (
        Annotated[
            list[ReasonView],
            MaxLen(50),
            Field(
                description=(
                    "Hard rules of the policy that a coordinator set aside for these people: by "
                    "composing them with `force`, or by locking them together."
                )
            ),
        ]
        | None
    )
    is_locked: bool | None
    holds_until: Timestamp | None
    mentorship_id: (
        Annotated[
            str,
            PublicId("mentorship"),
            Field(description="The one its members are to join, or the one that has come of it."),
        ]
        | None
    )
    present: Annotated[
        list[PresentMemberView],
        MaxLen(101),
        Field(
            description="Who is in the mentorship that its members are to join, until they have."
        ),
    ]


class ProposalPage(TypedDict):
    """One page of proposals."""

    items: Annotated[list[ProposalView], MaxLen(200)]
    next_cursor: Cursor | None


class SwappedView(TypedDict):
    """The two proposals that a swap has made."""

    items: Annotated[list[ProposalView], MaxLen(2)]
