"""Bodies of the operator's doors."""

from typing import Annotated, TypedDict

from annotated_types import MaxLen
from pydantic import Field, model_validator

from services.api.access.roles import Role
from services.api.access.rules import Scope
from services.api.credentials.schemas import ClientScopes, Label, RedirectUris
from services.api.organizations.rules import EmailCodes
from services.api.people.schemas import PersonId
from shared.schemas.base import Body, PublicId, Slug


class Founded(TypedDict):
    """A new organization and who runs it."""

    id: Annotated[str, PublicId("organization")]
    slug: Slug
    org_admin_person_id: Annotated[str, PublicId("person")]


class AppRegistration(Body):
    """An app that people of an organization sign in at."""

    organization_slug: Slug
    label: Label
    scopes: ClientScopes
    redirect_uris: RedirectUris = Field(default_factory=list)


class AppRegistered(TypedDict):
    """An app as it is registered, and the name it goes by at the sign-in doors."""

    id: Annotated[str, PublicId("oauth_client")]
    client_id: Annotated[str, Field(max_length=100)]
    organization_id: Annotated[str, PublicId("organization")]
    label: Label
    scopes: Annotated[list[Scope], MaxLen(50)]
    redirect_uris: RedirectUris


class EmailCodesOpening(Body):
    """Whose people sign in with codes by mail again."""

    organization_slug: Slug


class EmailCodesOpened(TypedDict):
    """An organization whose people sign in with codes by mail."""

    id: Annotated[str, PublicId("organization")]
    slug: Slug
    email_codes: EmailCodes


class SignIn(Body):
    """Whom to sign in as: one person, or whoever holds a role."""

    organization_slug: Slug
    person_id: PersonId | None = None
    role: Role | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "SignIn":
        if (self.person_id is None) == (self.role is None):
            raise ValueError("name a person or a role")
        return self


class SignedIn(TypedDict):
    """A token for development."""

    access_token: Annotated[str, Field(max_length=4000)]
    token_type: Annotated[str, Field(max_length=10)]
    expires_in: int
    organization_id: Annotated[str, PublicId("organization")]
    person_id: Annotated[str, PublicId("person")]
