"""Bodies of credentials: grants, API keys and OAuth clients."""

from enum import StrEnum
from typing import Annotated, Any, Literal, NotRequired, TypedDict
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from services.api.access.roles import Role
from services.api.access.rules import SERVICE_SCOPES, ClientKind, Scope
from services.api.credentials.rules import (
    LONGEST_GRACE_HOURS,
    LONGEST_REDIRECT,
    MOST_KEYS,
    MOST_REDIRECTS,
    REDIRECT,
    USUAL_GRACE_HOURS,
)
from services.api.organizations.rules import Kind as Environment
from shared.schemas.base import (
    UNSET,
    Body,
    Distinct,
    Id,
    Line,
    PublicId,
    Slug,
    Timestamp,
    Whole,
)
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
Scopes = Annotated[
    list[ServiceScope],
    MinLen(1),
    MaxLen(50),
    Distinct(),
    Field(description="All that the key may do; nothing comes by itself."),
]
ClientScope = Annotated[Scope, Field(examples=["people:read"])]
ClientScopes = Annotated[
    list[ClientScope],
    MinLen(1),
    MaxLen(50),
    Distinct(),
    Field(
        description="All that a service may do, or the most that people may let an app do for them."
        " Nothing comes by itself: `admin` and `content:self` are held by who is given them by"
        " name, and `content:self` by apps only."
    ),
]
Kind = Annotated[
    ClientKind,
    Field(
        description="`service` acts for itself and shows a secret or signs. `app` is what people"
        " sign in at, such as a page or a phone app: it keeps no secret and uses PKCE."
    ),
]
RedirectUri = Annotated[
    str,
    StringConstraints(pattern=REDIRECT, min_length=1, max_length=LONGEST_REDIRECT),
    Field(examples=["https://app.example.org/signed-in"]),
]
RedirectUris = Annotated[
    list[RedirectUri],
    MaxLen(MOST_REDIRECTS),
    Distinct(),
    Field(
        description="Where people may be sent back to, compared letter by letter; only of an app."
        " `https` in lower case, or `http` on 127.0.0.1 or [::1], where any port will do when"
        " people sign in. No fragment, no pattern, no scheme of one's own. An app without any"
        " signs people in by codes in its own screens."
    ),
]


def _base64(minimum: int, maximum: int, example: str) -> Any:
    return Field(
        min_length=minimum, max_length=maximum, pattern="^[A-Za-z0-9_-]+$", examples=[example]
    )


class KeyKind(StrEnum):
    """Which kind of public key it is."""

    EC = "EC"
    RSA = "RSA"
    OKP = "OKP"


class Curve(StrEnum):
    """Which curve the key lies on."""

    P256 = "P-256"
    ED25519 = "Ed25519"


class PublicKey(Body):
    """A public key (RFC 7517): P-256 with `x` and `y`, Ed25519 with `x`, or RSA with `n` and `e`.

    A private member is refused. Make another key if you sent one, for it is private no more.
    """

    kty: KeyKind
    crv: Curve | None = None
    x: Annotated[str, _base64(43, 43, "TB7sbxEKLMJ43wo5_oKYfpHFM1h1J-u7-9yoFQn4yMo")] | None = None
    y: Annotated[str, _base64(43, 43, "9jGkSc44eC_XcuoRnFbtsnNR7FNS6Yk2U61qqyzKMsU")] | None = None
    n: Annotated[str, _base64(342, 683, "A" * 342)] | None = None
    e: Annotated[str, _base64(1, 12, "AQAB")] | None = None
    kid: Annotated[str, Line(120, "2026-11")] | None = None
    alg: (
        Annotated[Literal["ES256", "RS256", "EdDSA", "Ed25519"], Field(examples=["ES256"])] | None
    ) = None
    use: Literal["sig"] | None = None


class Jwks(Body):
    """The public keys of a service that signs instead of showing a secret."""

    keys: Annotated[
        list[PublicKey],
        MinLen(1),
        MaxLen(MOST_KEYS),
        Field(description="Any of them may sign; register the next one before it does."),
    ]

    def stored(self) -> dict[str, Any]:
        """Return the keys with the members that were sent."""
        return self.model_dump(mode="json", exclude_none=True)


class PublicKeyView(TypedDict):
    """A public key as it was registered; members it has not are left out (RFC 7517)."""

    kty: KeyKind
    crv: NotRequired[Curve]
    x: NotRequired[Annotated[str, Field(max_length=43)]]
    y: NotRequired[Annotated[str, Field(max_length=43)]]
    n: NotRequired[Annotated[str, Field(max_length=683)]]
    e: NotRequired[Annotated[str, Field(max_length=12)]]
    kid: NotRequired[Annotated[str, Field(max_length=120)]]
    alg: NotRequired[Annotated[str, Field(max_length=8)]]
    use: NotRequired[Annotated[str, Field(max_length=3)]]


class JwksView(TypedDict):
    """The public keys of a service that signs."""

    keys: Annotated[list[PublicKeyView], MaxLen(MOST_KEYS)]


Version = Annotated[int, Field(ge=1, examples=[1], json_schema_extra={"format": "int32"})]
LastFour = Annotated[
    str,
    Field(min_length=4, max_length=4, description="The end of the secret.", examples=["9f3a"]),
]
GraceHours = Annotated[
    int,
    Whole(0, LONGEST_GRACE_HOURS, USUAL_GRACE_HOURS),
    Field(
        description="For how many hours the old secret goes on working; a week unless you say"
        " otherwise, at most 30 days, and 0 ends it at once."
    ),
]
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
    expires_at: Annotated[
        Timestamp | None, Field(description="When the key ends by itself; null is never.")
    ] = None


class ApiKeyPatch(Body):
    """What to change of a key; what is left out stays."""

    label: Label = UNSET


class ApiKeyRotation(Body):
    """A second key that takes over from this one."""

    id: Annotated[UUID, Id("api_key")] | None = None
    grace_hours: GraceHours = USUAL_GRACE_HOURS


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
    rotated_from: Annotated[
        Annotated[str, PublicId("api_key")] | None,
        Field(description="The key that this one takes over from."),
    ]
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Annotated[
        Timestamp | None, Field(description="When the key was last used, to the minute.")
    ]


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
    """A machine that trades what it holds for short tokens, or an app that people sign in at."""

    id: Annotated[UUID, Id("oauth_client")] | None = None
    kind: Kind = ClientKind.SERVICE
    label: Label
    scopes: ClientScopes
    redirect_uris: RedirectUris = Field(default_factory=list)
    jwks: Annotated[
        Jwks | None,
        Field(
            description="Public keys of a service that signs (`private_key_jwt`, RFC 7523). With"
            " them it gets no secret; rotate the client to give it one, too."
        ),
    ] = None
    expires_at: Annotated[
        Timestamp | None,
        Field(description="When a service ends by itself; null is never. Apps end when revoked."),
    ] = None


class OAuthClientPatch(Body):
    """What to change of a client; what is left out stays."""

    label: Label = UNSET
    scopes: ClientScopes = UNSET
    redirect_uris: RedirectUris = UNSET
    jwks: Annotated[
        Jwks | None, Field(description="Public keys of a service; null takes them away.")
    ] = None


class OAuthClientRotation(Body):
    """A new secret for this client."""

    grace_hours: GraceHours = USUAL_GRACE_HOURS


class OAuthClientView(TypedDict):
    """A client without its secrets."""

    id: Annotated[str, PublicId("oauth_client")]
    version: Version
    created_at: Timestamp
    updated_at: Timestamp
    label: Label
    kind: Kind
    client_id: Annotated[
        str,
        Field(
            max_length=100,
            description="The name the client goes by at `/oauth/authorize` and `/oauth/token`.",
            examples=["01kajv7v1cefh8ws6q1fyv4m2z-01kajv7v1cefh8ws6q1fyv4m30"],
        ),
    ]
    last_four: Annotated[
        LastFour | None, Field(description="The end of the newest secret; null where is none.")
    ]
    previous_secret_expires_at: Annotated[
        Timestamp | None,
        Field(description="Until when the secret before works; null where none does."),
    ]
    jwks: Annotated[JwksView | None, Field(description="The public keys of a service that signs.")]
    redirect_uris: RedirectUris
    scopes: Annotated[list[Scope], MaxLen(50)]
    created_by: Annotated[str, PublicId("person")] | None
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    last_used_at: Annotated[
        Timestamp | None, Field(description="When the client last asked for a token.")
    ]


class NewOAuthClient(OAuthClientView):
    """A client with the secret that is shown this once, if it has one."""

    client_secret: Annotated[
        Annotated[str, Field(min_length=32, max_length=200)] | None,
        Field(description=f"{SHOWN_ONCE} Also null for apps, and for services that sign."),
    ]


class OAuthClientPage(TypedDict):
    """One page of clients."""

    items: Annotated[list[OAuthClientView], MaxLen(200)]
    next_cursor: Cursor | None


class CredentialKind(StrEnum):
    """Which kind of credential it is."""

    PERSON_TOKEN = "person_token"  # noqa: S105 - a kind, not a token
    CLIENT_TOKEN = "client_token"  # noqa: S105 - as above
    API_KEY = "api_key"


class TokenLimits(TypedDict):
    """How much may be asked for."""

    requests_per_minute: Annotated[
        int, Field(ge=1, description="Of this person, key or client.", examples=[600])
    ]
    organization_requests_per_minute: Annotated[
        int, Field(ge=1, description="Of the whole organization.", examples=[6000])
    ]


class TokenFacts(TypedDict):
    """What a credential says of itself."""

    kind: CredentialKind
    person_id: Annotated[
        Annotated[str, PublicId("person")] | None,
        Field(description="Who acts; null for a machine."),
    ]
    client_id: Annotated[
        Annotated[str, Field(max_length=100)] | None,
        Field(
            description="The app a person signed in at, or the client a token belongs to, by the"
            " name it goes by at `/oauth/token`. Null for keys and developers' tokens.",
            examples=["01kajv7v1cefh8ws6q1fyv4m2z-01kajv7v1cefh8ws6q1fyv4m30"],
        ),
    ]
    api_key_id: Annotated[str, PublicId("api_key")] | None
    label: Annotated[
        Label | None, Field(description="What the org_admin called the key, client or app.")
    ]
    issued_at: Timestamp
    expires_at: Annotated[
        Timestamp | None, Field(description="When it ends by itself; null is never.")
    ]
    authenticated_at: Annotated[
        Timestamp | None,
        Field(description="When the person last showed who they are (`auth_time`)."),
    ]


class TokenView(TokenFacts):
    """What the present credential is, and what it may do."""

    organization_id: Annotated[str, PublicId("organization")]
    organization_name: Annotated[str, Line(120, "Example Works")]
    organization_slug: Slug
    environment: Annotated[
        Environment, Field(description="A sandbox has a clock that can be moved.")
    ]
    is_demo: Annotated[bool, Field(description="Whether this installation is a demo.")]
    connection_id: Annotated[
        Annotated[str, PublicId("connection")] | None,
        Field(description="The connection a key is bound to, where it is bound to one."),
    ]
    scopes: Annotated[
        list[Scope],
        MaxLen(50),
        Field(description="What it may do now, which can be less than when it was given."),
    ]
    limits: TokenLimits
