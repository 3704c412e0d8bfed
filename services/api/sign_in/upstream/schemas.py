"""What a provider must say of somebody it brings in, and how linked accounts are shown."""

from typing import Annotated, ClassVar, TypedDict

from annotated_types import MaxLen
from pydantic import ConfigDict, Field

from services.api.integrations.connections.schemas import Issuer
from services.api.sign_in.upstream.rules import LONGEST_SUBJECT
from shared.schemas.base import Body, Email, Line, PublicId, Timestamp

Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
Subject = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_SUBJECT,
        description="What the provider calls the account (`sub`); it means nothing elsewhere.",
        examples=["00u1a2b3c4D5e6F7g8h9"],
    ),
]


class Newcomer(Body):
    """A person as the provider describes them; without a name they stay outside."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", str_strip_whitespace=True)

    email: Email
    given_name: Annotated[str, Line(120, "Ada")]
    family_name: Annotated[str, Line(120, "Lovelace")]


class IdentityLinkView(TypedDict):
    """An account at an identity provider that signs a person in."""

    id: Annotated[str, PublicId("identity_link")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    person_id: Annotated[str, PublicId("person")]
    connection_id: Annotated[
        Annotated[str, PublicId("connection")],
        Field(description="Through which connection the account was linked."),
    ]
    issuer: Issuer
    subject: Subject
    last_used_at: Annotated[
        Timestamp | None,
        Field(description="When the account last signed somebody in, to the minute."),
    ]


class IdentityLinkPage(TypedDict):
    """One page of linked accounts."""

    items: Annotated[list[IdentityLinkView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=512)] | None
