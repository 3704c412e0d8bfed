"""Bodies of connections."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen
from pydantic import Field

from services.api.integrations.connections.rules import (
    DEFAULT_SCOPES,
    LEAST_GUARD_PEOPLE,
    LEAST_GUARD_PERCENT,
    MOST_GUARD_PEOPLE,
    MOST_GUARD_PERCENT,
    ConnectionKind,
    ConnectionStatus,
    OnMissing,
    Provisioning,
)
from shared.schemas.base import UNSET, Body, Distinct, Id, Line, PublicId, Timestamp, Whole

ConnectionId = Annotated[UUID, Id("connection")]
Label = Annotated[str, Line(120, "HR export")]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
PEOPLE = "So many leavers in one run pass without a second look."
PERCENT = "Or this share of the connection's active people, whichever is more."
GuardPeople = Annotated[
    int,
    Whole(LEAST_GUARD_PEOPLE, MOST_GUARD_PEOPLE, 5),
    Field(description=PEOPLE),
]
GuardPercent = Annotated[
    int,
    Whole(LEAST_GUARD_PERCENT, MOST_GUARD_PERCENT, 10),
    Field(description=PERCENT),
]


Issuer = Annotated[
    str,
    Line(500, "https://login.example.org/realms/works"),
    Field(description="The provider's issuer, exactly as its metadata spells it; https only."),
]
ClientId = Annotated[
    str,
    Line(200, "mentoring"),
    Field(description="How the provider knows this server."),
]
ClientSecret = Annotated[
    str,
    Line(500, "a long random text"),
    Field(
        description="What the provider gave with the client id. It is never shown again; send it"
        " again when the issuer changes.",
        json_schema_extra={"writeOnly": True},
    ),
]
OidcScope = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[!#-\[\]-~]+$", examples=["email"])
]
OidcScopes = Annotated[
    list[OidcScope],
    MaxLen(20),
    Distinct(),
    Field(description="What to ask the provider for; `openid` is always among it."),
]
Claim = Annotated[
    str,
    Line(120, "employee_id"),
    Field(
        description="The claim that equals people's external id. Name one that only"
        " administrators of the provider can change."
    ),
]
PeopleConnectionId = Annotated[
    ConnectionId,
    Field(
        description="The connection whose external ids the claim names, such as the HR export;"
        " null is this connection itself."
    ),
]
OidcProvisioning = Annotated[
    Provisioning,
    Field(
        description="`pending` takes people in whom the directory does not know, if the provider"
        " vouches for their address; they sign in once an org_admin has activated them."
    ),
]
OF_FILES = "Only of kind `file`."


class OidcCreate(Body):
    """The identity provider that people of the organization sign in at."""

    issuer: Issuer
    client_id: ClientId
    client_secret: ClientSecret
    scopes: OidcScopes = Field(default_factory=lambda: list(DEFAULT_SCOPES))
    external_id_claim: Claim | None = None
    people_connection_id: PeopleConnectionId | None = None
    provisioning: OidcProvisioning = Provisioning.OFF


class OidcPatch(Body):
    """What to change of the identity provider; what is left out stays."""

    issuer: Issuer = UNSET
    client_id: ClientId = UNSET
    client_secret: ClientSecret = UNSET
    scopes: OidcScopes = UNSET
    external_id_claim: Claim | None = None
    people_connection_id: PeopleConnectionId | None = None
    provisioning: OidcProvisioning = UNSET


class ConnectionCreate(Body):
    """A new source of people data, or the organization's own identity provider."""

    id: ConnectionId | None = None
    label: Label
    kind: ConnectionKind = ConnectionKind.FILE
    on_missing: Annotated[
        OnMissing | None,
        Field(description=f"What it means that a full file leaves somebody out. {OF_FILES}"),
    ] = None
    guard_people: Annotated[GuardPeople | None, Field(description=f"{PEOPLE} {OF_FILES}")] = None
    guard_percent: Annotated[GuardPercent | None, Field(description=f"{PERCENT} {OF_FILES}")] = None
    oidc: Annotated[
        OidcCreate | None, Field(description="Of kind `oidc`, which needs it, and of no other.")
    ] = None


class ConnectionPatch(Body):
    """What to change of a connection; what is left out stays."""

    label: Label = UNSET
    status: ConnectionStatus = UNSET
    on_missing: OnMissing = UNSET
    guard_people: GuardPeople = UNSET
    guard_percent: GuardPercent = UNSET
    oidc: Annotated[OidcPatch, Field(description="Only of kind `oidc`.")] = UNSET


class OidcView(TypedDict):
    """The identity provider behind a connection, without its secret."""

    issuer: Issuer
    client_id: ClientId
    scopes: OidcScopes
    external_id_claim: Claim | None
    people_connection_id: Annotated[str, PublicId("connection")] | None
    provisioning: OidcProvisioning
    redirect_uri: Annotated[
        str,
        Field(
            max_length=500,
            description="Register this address at the provider.",
            examples=["https://mentoring.example.org/oauth/callback"],
        ),
    ]


class ConnectionView(TypedDict):
    """A source of people data, or an identity provider, and when it last worked."""

    id: Annotated[str, PublicId("connection")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    label: Label
    kind: ConnectionKind
    status: ConnectionStatus
    on_missing: OnMissing | None
    guard_people: GuardPeople | None
    guard_percent: GuardPercent | None
    source: Annotated[
        str,
        Field(
            max_length=64,
            description="The `source` under which people carry this connection's ids.",
            examples=["con_01kajv7v1cefh8ws6q1fyv4m2z"],
        ),
    ]
    oidc: OidcView | None
    last_success_at: Timestamp | None


class ConnectionTestView(TypedDict):
    """Whether the identity provider answers as it must, and else what is wrong."""

    is_working: bool
    problem: Annotated[
        str | None,
        Field(
            max_length=64,
            description="A stable code of what is wrong, for a program; null where all is well.",
            examples=["issuer_differs"],
        ),
    ]
    detail: Annotated[
        str | None,
        Field(
            max_length=2000,
            description="The same in words.",
            examples=["jwks_uri answers with status 404."],
        ),
    ]
    checked_at: Timestamp


class ConnectionPage(TypedDict):
    """One page of connections."""

    items: Annotated[list[ConnectionView], MaxLen(200)]
    next_cursor: Annotated[str, Field(max_length=512)] | None
