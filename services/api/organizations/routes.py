"""The organization a credential belongs to."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, Response

from services.api.access.rules import Scope
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    SessionDep,
    allow,
    door,
)
from services.api.organizations import operations, queries
from services.api.organizations.schemas import OrganizationPatch, OrganizationView, SkillView
from shared import ids
from shared.web import responses

router = door("organization")


def present(row: Mapping[str, Any]) -> OrganizationView:
    """Show an organization."""
    return OrganizationView(
        id=ids.format_id("organization", row["organization_id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        name=row["name"],
        slug=row["slug"],
        kind=row["kind"],
        default_locale=row["default_locale"],
        default_timezone=row["default_timezone"],
        email_codes=row["email_codes"],
        grade_order=row["grade_order"],
        skills=[
            SkillView(key=one["key"], label=one["label"], synonyms=one["synonyms"])
            for one in row["skills"]
        ],
    )


@router.get(
    "/organization",
    summary="Read the organization",
    response_model=OrganizationView,
    openapi_extra=allow("organization.read", Scope.ADMIN),
)
async def get_organization(*, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return the organization this credential belongs to, with its defaults."""
    row = await queries.get(reader, organization_id=actor.organization_id)
    return responses.one(present(row), version=row["version"])


@router.patch(
    "/organization",
    summary="Change the organization",
    response_model=OrganizationView,
    openapi_extra=allow("organization.change", Scope.ADMIN),
)
async def change_organization(
    *,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[OrganizationPatch, Body(media_type="application/merge-patch+json")],
    if_match: IfMatchDep = None,
) -> Response:
    """Change defaults, how people sign in, the order of grades and skills; what is left out stays.

    A list is replaced as a whole. A word that means two skills is refused with its place.

    Before an identity provider becomes the only way in, sign in there once with `email_codes` at
    `on`.
    """
    organization = await operations.change(
        session,
        actor=actor,
        changes=body.sent(),
        if_match=if_match,
        now=now,
    )
    return responses.one(present(organization.model_dump()), version=organization.version)
