"""Bodies of signing in by a code."""

from typing import Annotated, TypedDict

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from services.api.access import codes
from services.api.sign_in.email_codes import rules
from shared import ids
from shared.schemas.base import Body, Email, Slug

_PLACE = "01kajv7v1cefh8ws6q1fyv4m2z"
_CHALLENGE_LENGTH = len(rules.PREFIX) + 2 * (len(_PLACE) + 1)
_EXAMPLE_CODE = f"ac_{_PLACE}_{_PLACE}_{'5f' * 32}"


def _named(value: str) -> str:
    try:
        rules.parse_challenge(value)
    except ValueError:
        raise PydanticCustomError(
            "invalid_id",
            "should be a challenge with the prefix {prefix}_",
            {"prefix": rules.PREFIX},
        ) from None
    return value


_CHALLENGE_SCHEMA = WithJsonSchema(
    {
        "type": "string",
        "pattern": f"^{rules.PREFIX}_{ids.SUFFIX_PATTERN}_{ids.SUFFIX_PATTERN}$",
        "minLength": _CHALLENGE_LENGTH,
        "maxLength": _CHALLENGE_LENGTH,
        "examples": [f"{rules.PREFIX}_{_PLACE}_{_PLACE}"],
    }
)
ChallengeId = Annotated[str, AfterValidator(_named), _CHALLENGE_SCHEMA]


class EmailCodeStart(Body):
    """Who wants to sign in, and to which app."""

    organization: Annotated[Slug, Field(description="Slug of the organization.")]
    email: Annotated[Email, Field(description="Address that the organization knows the person by.")]
    client_id: Annotated[
        str,
        StringConstraints(
            pattern=f"^{ids.SUFFIX_PATTERN}-{ids.SUFFIX_PATTERN}$", min_length=53, max_length=53
        ),
        Field(
            description="Client id of an app of this organization.",
            examples=[f"{_PLACE}-{_PLACE}"],
        ),
    ]
    code_challenge: Annotated[
        str,
        StringConstraints(pattern="^[A-Za-z0-9_-]{43}$", min_length=43, max_length=43),
        Field(
            description="SHA-256 of your code verifier in base64url (RFC 7636, method S256).",
            examples=["E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"],
        ),
    ]
    scope: (
        Annotated[
            str,
            StringConstraints(pattern="^[a-z:_-]+( [a-z:_-]+)*$", min_length=1, max_length=1000),
            Field(
                description="Scopes, separated by spaces; left out, all that the app may have.",
                examples=["programs:read meetings:write"],
            ),
        ]
        | None
    ) = None


class EmailCodeAnswer(Body):
    """The code that came by mail."""

    code: Annotated[
        str,
        StringConstraints(
            pattern=f"^[0-9]{{{codes.DIGITS}}}$",
            min_length=codes.DIGITS,
            max_length=codes.DIGITS,
        ),
        Field(description="The eight digits of the mail.", examples=["27182818"]),
    ]


class EmailCodeView(TypedDict):
    """A code was asked for; whether the address is somebody's is not told."""

    challenge_id: Annotated[str, _CHALLENGE_SCHEMA]
    expires_in: Annotated[
        int, Field(ge=1, le=600, description="Seconds for which the code works.", examples=[600])
    ]


class SignedInView(TypedDict):
    """An authorization code for your app."""

    code: Annotated[
        str,
        Field(
            max_length=200,
            description="Redeem it at /oauth/token together with your code verifier.",
            examples=[_EXAMPLE_CODE],
        ),
    ]
    expires_in: Annotated[
        int, Field(ge=1, le=60, description="Seconds in which to redeem it.", examples=[60])
    ]
