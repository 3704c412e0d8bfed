"""Who has an address, and how often it asked; each statement is sent for every address alike."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, func, select
from sqlmodel import col

from services.api.people.rules import SIGNS_IN
from services.api.people.tables import Person
from services.api.sign_in.email_codes.rules import ADDRESS_WINDOW, ORGANIZATION_WINDOW
from services.api.sign_in.email_codes.tables import EmailCode
from shared.persistence.reads import AnySelect, Reader, once


@once
def _held() -> AnySelect:
    return select(func.pg_advisory_xact_lock(bindparam("place")).label("is_held"))


async def hold_address(reader: Reader, *, digest: bytes) -> None:
    """Let one request at a time count for an address."""
    place = int.from_bytes(digest[:8], signed=True)
    await reader.fetch_one(_held(), place=place)


@once
def _counts() -> AnySelect:
    mine = col(EmailCode.organization_id) == bindparam("organization_id")
    of_address = select(func.count()).where(
        mine,
        col(EmailCode.address_digest) == bindparam("digest"),
        col(EmailCode.is_counted),
        col(EmailCode.created_at) > bindparam("address_since"),
    )
    of_organization = select(func.count()).where(
        mine, col(EmailCode.created_at) > bindparam("organization_since")
    )
    return select(
        of_address.scalar_subquery().label("of_address"),
        of_organization.scalar_subquery().label("of_organization"),
    )


async def counts(
    reader: Reader, *, organization_id: UUID, digest: bytes, now: datetime
) -> tuple[int, int]:
    """Return how many codes an address and its organization asked for lately."""
    row = await reader.fetch_one(
        _counts(),
        organization_id=organization_id,
        digest=digest,
        address_since=now - ADDRESS_WINDOW,
        organization_since=now - ORGANIZATION_WINDOW,
    )
    return (row["of_address"], row["of_organization"]) if row else (0, 0)


@once
def _having_address() -> AnySelect:
    # As the index on addresses has it, so that known and unknown ones are looked up alike.
    return (
        select(col(Person.id), col(Person.status))
        .where(
            col(Person.organization_id) == bindparam("organization_id"),
            func.lower(col(Person.email)) == func.lower(bindparam("address")),
            col(Person.status) != "inactive",
        )
        .limit(2)
    )


async def who_has(reader: Reader, *, organization_id: UUID, address: str) -> UUID | None:
    """Return the one person who may sign in with an address; None of nobody's or of several."""
    rows = await reader.fetch(_having_address(), organization_id=organization_id, address=address)
    found = [row["id"] for row in rows if row["status"] in SIGNS_IN]
    return found[0] if len(found) == 1 else None


@once
def _address() -> AnySelect:
    # Held, so that no address changes between this look and the COMMIT of what follows from it.
    return (
        select(col(Person.email), col(Person.status))
        .where(
            col(Person.organization_id) == bindparam("organization_id"),
            col(Person.id) == bindparam("person_id"),
        )
        .with_for_update(read=True)
    )


async def address_of(reader: Reader, *, organization_id: UUID, person_id: UUID) -> str | None:
    """Return the address of somebody who is still one of those who sign in."""
    row = await reader.fetch_one(_address(), organization_id=organization_id, person_id=person_id)
    return row["email"] if row is not None and row["status"] in SIGNS_IN else None
