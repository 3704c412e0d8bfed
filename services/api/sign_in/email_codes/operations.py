"""Ask for a code by mail, and sign in with it; what comes of it is returned, never raised.

A refusal is rendered after the COMMIT: raised, it would take the counted attempt back with it.
"""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.access import codes
from services.api.access.rules import Scope
from services.api.events import operations as events
from services.api.integrations.connections import queries as connections
from services.api.sign_in.email_codes import queries
from services.api.sign_in.email_codes.rules import (
    ORGANIZATION_WINDOW,
    PER_ADDRESS,
    Challenge,
    Off,
    Refused,
    TooMany,
    Verified,
)
from services.api.sign_in.email_codes.tables import EmailCode
from shared import ids
from shared.persistence.reads import Reader, SessionReader

type Admit = Callable[[], None]
"""Counts an answer for its organization once it names a challenge that can be answered.

It may refuse by raising, which takes the attempt back.
"""


async def start(
    session: AsyncSession,
    *,
    organization_id: UUID,
    address: str,
    client_id: UUID,
    scopes: frozenset[Scope],
    code_challenge: str | None,
    sign_in_id: UUID | None,
    pepper: bytes,
    limit: int,
    now: datetime,
) -> Challenge | TooMany | Off:
    """Send a code to an address, if it is somebody's; the same work is done if it is nobody's.

    `address` has the form of one (`shared.schemas.base.Email`). `limit` is how many codes the
    organization may ask for in a minute; `now` is the real time.
    """
    reader = SessionReader(session)
    if not await connections.takes_email_codes(reader, organization_id=organization_id):
        return Off()
    digest = codes.address_digest(pepper, organization_id=organization_id, address=address)
    await queries.hold_address(reader, digest=digest)
    of_address, of_organization = await queries.counts(
        reader, organization_id=organization_id, digest=digest, now=now
    )
    if of_organization >= limit:
        return TooMany(int(ORGANIZATION_WINDOW.total_seconds()) // 2)
    person_id = await queries.who_has(reader, organization_id=organization_id, address=address)
    is_counted = of_address < PER_ADDRESS
    challenge = EmailCode(
        organization_id=organization_id,
        id=ids.new_id(),
        person_id=person_id if is_counted else None,
        address_digest=digest,
        is_counted=is_counted,
        client_id=client_id,
        scopes=sorted(scopes),
        code_challenge=code_challenge,
        sign_in_id=sign_in_id,
        attempts=0,
        created_at=now,
        expires_at=now + codes.LIFETIME,
    )
    session.add(challenge)
    _tell(session, challenge, now=now)
    return Challenge(organization_id, challenge.id, challenge.expires_at)


def _tell(session: AsyncSession, challenge: EmailCode, *, now: datetime) -> None:
    # A decoy's fact is written and sent like any other, but there is nobody to tell it.
    whom = {"person": [challenge.person_id]} if challenge.person_id else {}
    events.record(session, codes.REQUESTED, challenge, now=now, recipients=whom)


async def verify(
    session: AsyncSession,
    *,
    organization_id: UUID,
    challenge_id: UUID,
    code: str,
    admit: Admit,
    pepper: bytes,
    sign_in_id: UUID | None = None,
    now: datetime,
) -> Verified | Refused | Off:
    """Sign in with a code; the attempt counts, whatever comes of it.

    A challenge that was begun on a sign-in page is answered on that page only: `sign_in_id` names
    it. `now` is the real time.
    """
    reader = SessionReader(session)
    if not await connections.takes_email_codes(reader, organization_id=organization_id):
        return Off()
    challenge = await _attempt(
        session,
        organization_id=organization_id,
        challenge_id=challenge_id,
        sign_in_id=sign_in_id,
        now=now,
    )
    if challenge is None:
        return Refused()
    admit()
    is_right = codes.is_code(
        pepper, code, organization_id=organization_id, challenge_id=challenge_id
    )
    if not is_right or challenge.person_id is None:
        return Refused()
    challenge.used_at = now
    if not await is_still_theirs(reader, challenge, pepper=pepper):
        return Refused()
    return Verified(
        person_id=challenge.person_id,
        client_id=challenge.client_id,
        scopes=frozenset(map(Scope, challenge.scopes)),
        code_challenge=challenge.code_challenge,
    )


async def is_still_theirs(reader: Reader, challenge: EmailCode, *, pepper: bytes) -> bool:
    """Tell whether the code went to the address of somebody who signs in with it to this day."""
    if challenge.person_id is None:
        return False
    address = await queries.address_of(
        reader, organization_id=challenge.organization_id, person_id=challenge.person_id
    )
    return address is not None and challenge.address_digest == codes.address_digest(
        pepper, organization_id=challenge.organization_id, address=address
    )


async def _attempt(
    session: AsyncSession,
    *,
    organization_id: UUID,
    challenge_id: UUID,
    sign_in_id: UUID | None,
    now: datetime,
) -> EmailCode | None:
    """Take one attempt of a challenge that still has some; of fifty at once, five get one.

    The row stays locked until the COMMIT, so the others look again at what was counted meanwhile.
    """
    return await session.scalar(
        update(EmailCode)
        .where(
            col(EmailCode.organization_id) == organization_id,
            col(EmailCode.id) == challenge_id,
            col(EmailCode.sign_in_id).is_not_distinct_from(sign_in_id),
            col(EmailCode.attempts) < codes.MAX_ATTEMPTS,
            col(EmailCode.used_at).is_(None),
            col(EmailCode.expires_at) > now,
        )
        .values(attempts=col(EmailCode.attempts) + 1)
        .returning(EmailCode)
        .execution_options(populate_existing=True)
    )
