"""Bodies of suggestions."""

from typing import Annotated, ClassVar, TypedDict

from annotated_types import MaxLen
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from services.api.match_runs.schemas import PartView, Score
from services.api.programs.rules import TrackRole
from services.api.programs.schemas import TrackId
from shared.schemas.base import Line, PublicId

Compared = Annotated[
    str,
    Line(
        92,
        "par_01kajv7v1cefh8ws6q1fyv4m2z,par_01kajv7v1cefh8ws6q1fyv4m30",
    ),
    Field(description="Two or three participants, separated by commas, to see side by side."),
]


class SuggestionsQuery(BaseModel):
    """For which track and role, and how many."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    track_id: Annotated[
        TrackId | SkipJsonSchema[None],
        Field(description="Needed where you take part in several tracks."),
    ] = None
    role: Annotated[
        TrackRole | SkipJsonSchema[None],
        Field(description="Your own role; the seeking side where left out."),
    ] = None
    limit: Annotated[
        int,
        Field(
            ge=1,
            le=50,
            description="How many people at most.",
            examples=[20],
            json_schema_extra={"format": "int32"},
        ),
    ] = 20
    compare: Compared | SkipJsonSchema[None] = None


class SuggestionView(TypedDict):
    """Somebody who might fit; without a score where they are not available to you."""

    participant_id: Annotated[str, PublicId("participant")]
    person_id: Annotated[str, PublicId("person")]
    is_available: bool
    is_favorite: bool
    score: Score | None
    parts: Annotated[
        list[PartView], MaxLen(50), Field(description="What you share, as keys to translate.")
    ]


class SuggestionsView(TypedDict):
    """Who fits one participant in one track, the best first; a comparison keeps your order."""

    participant_id: Annotated[str, PublicId("participant")]
    track_id: Annotated[str, PublicId("track")]
    role: TrackRole
    items: Annotated[list[SuggestionView], MaxLen(50)]
