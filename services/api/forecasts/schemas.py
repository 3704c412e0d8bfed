"""Bodies of capacity forecasts."""

from typing import Annotated, TypedDict

from annotated_types import MaxLen
from pydantic import Field

from services.api.forecasts.rules import Method
from services.api.match_runs.schemas import Params, Word
from services.api.participants.schemas import Count
from services.api.programs.rules import Format
from shared.schemas.base import PublicId


class TopicView(TypedDict):
    """A skill: how many want it, how many places offer it, and how many too few that is."""

    topic: Annotated[str, Field(max_length=80)]
    wanted: Count
    offered_seats: Count
    short: Count


class OptionView(TypedDict):
    """Something that would help, as a key to translate and its numbers."""

    key: Word
    params: Params
    track_id: Annotated[str, PublicId("track")]


class UnmatchedReasonView(TypedDict):
    """Why people who seek somebody would find nobody."""

    rule: Word
    key: Word
    count: Count


class TrackForecastView(TypedDict):
    """Places against people who seek one, in one track."""

    track_id: Annotated[str, PublicId("track")]
    format: Format
    method: Annotated[
        Method,
        Field(
            description="`flow` counts the most pairs that the hard rules of the policy let be;"
            " `seats` counts places only."
        ),
    ]
    facilitators: Count
    mentors: Count
    mentor_seats: Annotated[
        Count, Field(description="Places for mentees: in circles, those that mentors do not take.")
    ]
    mentees: Count
    unmatched_expected: Annotated[
        Count, Field(description="Who would find nobody: of circles, mentors as well as mentees.")
    ]
    reasons: Annotated[list[UnmatchedReasonView], MaxLen(100)]


class ForecastView(TypedDict):
    """Whether there are places for everybody who seeks one, and what could be done."""

    program_id: Annotated[str, PublicId("program")]
    approved: Count
    in_review: Count
    mentor_seats: Count
    mentees: Count
    unmatched_expected: Count
    tracks: Annotated[list[TrackForecastView], MaxLen(100)]
    by_topic: Annotated[list[TopicView], MaxLen(50)]
    options: Annotated[list[OptionView], MaxLen(500)]
