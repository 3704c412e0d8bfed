"""Bodies of credentials: grants, API keys and OAuth clients."""

from typing import Annotated, TypedDict
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from services.api.access.roles import Role
from services.api.access.rules import SERVICE_SCOPES, Scope
from shared.schemas.base import Body, Distinct, Id, Line, PublicId, Timestamp
from shared.web.pagination import Page

PersonId = Annotated[UUID, Id("person")]
Label = Annotated[str, Line(120, "Nightly people sync")]


def _of_a_machine(scope: Scope) -> Scope:
    if scope not in SERVICE_SCOPES:
        raise PydanticCustomError("not_allowed", "is of persons only")
    return scope


ServiceScope = Annotated[
    Scope,
    AfterValidator(_of_a_machine),
    WithJsonSchema({"type": "string", "enum": sorted(SERVICE_SCOPES), "examples": ["people:read"]}),
]
Scopes = Annotated[list[ServiceScope], MinLen(1), MaxLen(50), Distinct()]
Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
LastFour = Annotated[str, Field(min_length=4, max_length=4, examples=["9f3a"])]
Cursor = Annotated[str, Field(max_length=512)]
SHOWN_ONCE = "Shown once; null when the request is repeated."


class RoleAssignmentCreate(Body):
    """A role to grant; coordinators and analysts name their program."""

    id: Annotated[UUID, Id("role_assignment")] | None = None
    person_id: PersonId
    role: Role
    program_id: Annotated[UUID, Id("program")] | None = None
    expires_at: Timestamp | None = None


class RoleAssignmentQuery(Page):
    """Filters of role assignments."""

    person_id: Annotated[
        PersonId | SkipJsonSchema[None], Field(description="Only grants of this person.")
    ] = None


class RoleAssignmentView(TypedDict):
    """A granted role."""

    id: Annotated[str, PublicId("role_assignment")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    person_id: Annotated[str, PublicId("person")]
    role: Role
    program_id: Annotated[str, PublicId("program")] | None
    granted_by: Annotated[str, PublicId("person")] | None
    expires_at: Timestamp | None


class RoleAssignmentPage(TypedDict):
    """One page of role assignments."""

    items: Annotated[list[RoleAssignmentView], MaxLen(200)]
    next_cursor: Cursor | None


class ApiKeyCreate(Body):
    """A key for a machine."""

    id: Annotated[UUID, Id("api_key")] | None = None
    label: Label
    scopes: Scopes
    expires_at: Timestamp | None = None


class ApiKeyView(TypedDict):
    """A machine's key, without its secret."""

    id: Annotated[str, PublicId("api_key")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    label: Label
    last_four: LastFour
    scopes: Annotated[list[Scope], MaxLen(50)]
    created_by: Annotated[str, PublicId("person")] | None
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Timestamp | None


class NewApiKey(ApiKeyView):
    """A machine's key with the secret that is shown this once."""

    key: Annotated[
        Annotated[str, Field(min_length=100, max_length=200)] | None, Field(description=SHOWN_ONCE)
    ]


class ApiKeyPage(TypedDict):
    """One page of keys."""

    items: Annotated[list[ApiKeyView], MaxLen(200)]
    next_cursor: Cursor | None


class OAuthClientCreate(Body):
    """A machine that trades a secret for short tokens."""

    id: Annotated[UUID, Id("oauth_client")] | None = None
    label: Label
    scopes: Scopes


class OAuthClientView(TypedDict):
    """A machine client, without its secret."""

    id: Annotated[str, PublicId("oauth_client")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    label: Label
    client_id: Annotated[str, Field(max_length=100)]
    last_four: LastFour
    scopes: Annotated[list[Scope], MaxLen(50)]
    created_by: Annotated[str, PublicId("person")] | None
    revoked_at: Timestamp | None


class NewOAuthClient(OAuthClientView):
    """A machine client with the secret that is shown this once."""

    client_secret: Annotated[
        Annotated[str, Field(min_length=32, max_length=200)] | None, Field(description=SHOWN_ONCE)
    ]


class OAuthClientPage(TypedDict):
    """One page of clients."""

    items: Annotated[list[OAuthClientView], MaxLen(200)]
    next_cursor: Cursor | None


class TokenView(TypedDict):
    """What the present credential is."""

    organization_id: Annotated[str, PublicId("organization")]
    person_id: Annotated[str, PublicId("person")] | None
    client_id: Annotated[str, Field(max_length=40)] | None
    scopes: Annotated[list[Scope], MaxLen(50)]
