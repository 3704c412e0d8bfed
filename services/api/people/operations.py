"""Every change to the directory."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import operations as access
from services.api.access.rules import Actor
from services.api.access.tables import FamilyEnd
from services.api.credentials import operations as credentials
from services.api.events import operations as events
from services.api.organizations import queries as organizations
from services.api.people import queries, rules
from services.api.people.rules import PersonAction, PersonChange, PersonStatus
from services.api.people.tables import ExternalId, Person
from shared import ids
from shared.errors import ConflictError, ForbiddenError, unknown_reference
from shared.persistence.reads import SessionReader
from shared.web.preconditions import accept_match, require_match


async def create(
    session: AsyncSession,
    *,
    actor: Actor,
    values: Mapping[str, Any],
    external_ids: Sequence[tuple[str, str]] = (),
    person_id: UUID | None = None,
    now: datetime,
) -> Person:
    """Add a person to the directory."""
    return await _add(
        session,
        organization_id=actor.organization_id,
        actor_id=actor.person_id,
        values=values,
        external_ids=external_ids,
        person_id=person_id,
        now=now,
    )


async def _add(
    session: AsyncSession,
    *,
    organization_id: UUID,
    actor_id: UUID | None,
    values: Mapping[str, Any],
    external_ids: Sequence[tuple[str, str]],
    person_id: UUID | None,
    now: datetime,
) -> Person:
    if person_id is not None:
        await _refuse_known(session, organization_id=organization_id, person_id=person_id)
    organization = await organizations.get(SessionReader(session), organization_id=organization_id)
    person = Person(
        organization_id=organization_id,
        id=person_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        **_with_defaults(values, organization),
    )
    await _check_new(session, person, external_ids)
    session.add(person)
    await session.flush()
    _link(session, person, external_ids, now=now)
    await _tell_door(session, person)
    events.record(
        session,
        "person.created",
        person,
        now=now,
        actor_id=actor_id,
        to_state=person.status,
        named={"manager_id": person.manager_id},
    )
    return person


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    person_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> Person:
    """Change the named fields of a person and record which."""
    person = await queries.lock(session, organization_id=actor.organization_id, person_id=person_id)
    require_match(if_match, version=person.version)
    await apply(
        session,
        person=person,
        changes=changes,
        actor_id=actor.person_id,
        is_by_office=actor.holds_office,
        now=now,
    )
    return person


async def apply(
    session: AsyncSession,
    *,
    person: Person,
    changes: Mapping[str, Any],
    actor_id: UUID | None,
    is_by_office: bool,
    now: datetime,
) -> list[str]:
    """Apply changes to a locked person, whoever they come from; return the fields that differ.

    The address of somebody who holds a role is moved by an org_admin alone (`Actor.holds_office`).
    Whoever is signed in as somebody whose address somebody else moves is signed out. Records
    `person.updated`, and `person.manager_changed` when the reporting line moved.
    """
    changed = [name for name, value in changes.items() if getattr(person, name) != value]
    if not changed:
        return []
    if "email" in changed:
        await _keep_role_holder(session, person, is_by_office=is_by_office)
        await _refuse_taken_email(session, person, email=changes["email"])
    if "manager_id" in changed:
        await _refuse_cycle(session, person, manager_id=changes["manager_id"])
    old_address = person.email
    is_moved = "email" in changed and changes["email"].lower() != old_address.lower()
    for name in changed:
        setattr(person, name, changes[name])
    person.touch(now)
    if is_moved:
        await _leave_address(session, person, old_address, actor_id=actor_id, now=now)
    _record(session, "person.updated", person, actor_id=actor_id, changed=changed, now=now)
    if "manager_id" in changed:
        _record(session, "person.manager_changed", person, actor_id=actor_id, now=now)
    return changed


async def _leave_address(
    session: AsyncSession, person: Person, address: str, *, actor_id: UUID | None, now: datetime
) -> None:
    """Tell the old address, and sign out whoever is signed in as a person that somebody else moves.

    A sign-in by code rests on the address: whoever has one that was wrong is not to stay. Who moves
    their own may have mistyped it, and must be able to put it right.
    """
    if actor_id != person.id:
        await access.end_sessions(
            session, organization_id=person.organization_id, person_id=person.id, now=now
        )
    # Nobody is named as the actor, so that the mail goes out in any case: it may not be them.
    events.record(
        session,
        "person.address_changed",
        person,
        now=now,
        recipients={"person": [person.id]},
        mail_to=address,
    )


async def deactivate(
    session: AsyncSession,
    *,
    actor: Actor,
    person_id: UUID,
    ended_on: date | None,
    reason: str | None,
    if_match: str | None,
    now: datetime,
) -> Person:
    """Let a person leave: their credentials end with this transaction."""
    person = await queries.lock(session, organization_id=actor.organization_id, person_id=person_id)
    accept_match(if_match, version=person.version)
    await leave(
        session,
        person=person,
        ended_on=ended_on or now.date(),
        reason=reason,
        actor_id=actor.person_id,
        now=now,
    )
    return person


async def leave(
    session: AsyncSession,
    *,
    person: Person,
    ended_on: date,
    reason: str | None,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Mark a locked person as gone."""
    before = person.status
    status = rules.next_status(person.status, PersonAction.DEACTIVATE)
    await credentials.keep_an_org_admin(
        session, organization_id=person.organization_id, without=person.id
    )
    person.status = status
    person.ended_on, person.ended_reason = ended_on, reason
    person.touch(now)
    await _tell_door(session, person)
    await access.end_sessions(
        session, organization_id=person.organization_id, person_id=person.id, now=now
    )
    await credentials.revoke_keys_of(
        session,
        organization_id=person.organization_id,
        person_id=person.id,
        actor_id=actor_id,
        now=now,
    )
    _record(
        session,
        "person.deactivated",
        person,
        actor_id=actor_id,
        from_state=before,
        to_state=person.status,
        now=now,
    )


async def activate(
    session: AsyncSession, *, actor: Actor, person_id: UUID, if_match: str | None, now: datetime
) -> Person:
    """Let somebody in who was only announced: from now on they may sign in."""
    person = await queries.lock(session, organization_id=actor.organization_id, person_id=person_id)
    accept_match(if_match, version=person.version)
    if person.status not in rules.SIGNS_IN:
        await _keep_role_holder(session, person, is_by_office=actor.holds_office)
    await arrive(session, person=person, actor_id=actor.person_id, now=now)
    return person


async def arrive(
    session: AsyncSession, *, person: Person, actor_id: UUID | None, now: datetime
) -> None:
    """Mark a locked person who was announced, or away, as here."""
    before = person.status
    person.status = rules.next_status(person.status, PersonAction.ACTIVATE)
    person.touch(now)
    await _tell_door(session, person)
    _record(
        session,
        "person.activated",
        person,
        actor_id=actor_id,
        from_state=before,
        to_state=person.status,
        now=now,
    )


async def reactivate(
    session: AsyncSession, *, actor: Actor, person_id: UUID, if_match: str | None, now: datetime
) -> Person:
    """Take a person back under the id they had."""
    person = await queries.lock(session, organization_id=actor.organization_id, person_id=person_id)
    accept_match(if_match, version=person.version)
    await _keep_role_holder(session, person, is_by_office=actor.holds_office)
    await come_back(session, person=person, actor_id=actor.person_id, now=now)
    return person


async def come_back(
    session: AsyncSession, *, person: Person, actor_id: UUID | None, now: datetime
) -> None:
    """Mark a locked person as here again."""
    before = person.status
    person.status = rules.next_status(person.status, PersonAction.REACTIVATE)
    await _refuse_taken_email(session, person, email=person.email)
    person.ended_on, person.ended_reason = None, None
    person.touch(now)
    await _tell_door(session, person)
    _record(
        session,
        "person.reactivated",
        person,
        actor_id=actor_id,
        from_state=before,
        to_state=person.status,
        now=now,
    )


async def sign_out_everywhere(
    session: AsyncSession, *, actor: Actor, now: datetime, real_now: datetime
) -> None:
    """End every token and every sign-in of the acting person, and tell them so."""
    if actor.person_id is None:
        raise ForbiddenError
    person = await queries.lock(
        session, organization_id=actor.organization_id, person_id=actor.person_id
    )
    await access.end_sessions(
        session,
        organization_id=person.organization_id,
        person_id=person.id,
        now=real_now,
        because=FamilyEnd.SIGNED_OUT,
    )
    # Nobody is named as the actor, so that the person is told: it may not have been them.
    events.record(
        session,
        "person.signed_out_everywhere",
        person,
        now=now,
        recipients={"person": [person.id]},
    )


async def apply_person_change(
    session: AsyncSession,
    *,
    organization_id: UUID,
    wanted: PersonChange,
    actor_id: UUID | None,
    is_by_office: bool,
    now: datetime,
) -> Person:
    """Make one person as a source says they are; the only way other systems write people.

    `is_by_office` is whether somebody answers for it who may decide who signs in with a role.
    Records what the API would. Refuses with `plan_stale` when the person is not the one, or not
    in the version, that the source's plan was made from; refusals leave nothing changed.
    """
    known = await queries.find_by_external_id(
        session,
        organization_id=organization_id,
        source=wanted.source,
        external_id=wanted.external_id,
    )
    if known is None:
        return await _add_wanted(
            session, organization_id=organization_id, wanted=wanted, actor_id=actor_id, now=now
        )
    person = await queries.lock(session, organization_id=organization_id, person_id=known)
    if (person.id, person.version) != (wanted.person_id, wanted.version_seen):
        raise rules.plan_stale()
    await _settle(
        session,
        person=person,
        wanted=wanted,
        actor_id=actor_id,
        is_by_office=is_by_office,
        now=now,
    )
    return person


async def _add_wanted(
    session: AsyncSession,
    *,
    organization_id: UUID,
    wanted: PersonChange,
    actor_id: UUID | None,
    now: datetime,
) -> Person:
    if wanted.version_seen is not None:
        raise rules.plan_stale()
    values = dict(wanted.values)
    if wanted.standing is PersonStatus.INACTIVE:
        # Somebody who left before they were ever known here enters as gone, never as a colleague.
        values |= {
            "status": PersonStatus.INACTIVE,
            "ended_on": wanted.ended_on,
            "ended_reason": wanted.ended_reason,
        }
    return await _add(
        session,
        organization_id=organization_id,
        actor_id=actor_id,
        values=values,
        external_ids=[(wanted.source, wanted.external_id)],
        person_id=wanted.person_id,
        now=now,
    )


async def _settle(
    session: AsyncSession,
    *,
    person: Person,
    wanted: PersonChange,
    actor_id: UUID | None,
    is_by_office: bool,
    now: datetime,
) -> None:
    """Bring a locked person to what the source wants: fields first, then whether they are here."""
    returns = wanted.standing is PersonStatus.ACTIVE and person.status is PersonStatus.INACTIVE
    leaves = wanted.standing is PersonStatus.INACTIVE and person.status is not PersonStatus.INACTIVE
    arrives = wanted.standing is PersonStatus.ACTIVE and person.status is PersonStatus.PENDING
    # Asked before anything is assigned: what is refused must not leave half a change behind.
    if returns or arrives:
        await _keep_role_holder(session, person, is_by_office=is_by_office)
    if returns:
        await _refuse_taken_email(session, person, email=wanted.values.get("email", person.email))
    if leaves:
        await credentials.keep_an_org_admin(
            session, organization_id=person.organization_id, without=person.id
        )
    await apply(
        session,
        person=person,
        changes=wanted.values,
        actor_id=actor_id,
        is_by_office=is_by_office,
        now=now,
    )
    if returns:
        await come_back(session, person=person, actor_id=actor_id, now=now)
    elif arrives:
        await arrive(session, person=person, actor_id=actor_id, now=now)
    elif leaves:
        await leave(
            session,
            person=person,
            ended_on=wanted.ended_on or now.date(),
            reason=wanted.ended_reason,
            actor_id=actor_id,
            now=now,
        )


def _record(
    session: AsyncSession,
    kind: str,
    person: Person,
    *,
    actor_id: UUID | None,
    now: datetime,
    changed: Sequence[str] = (),
    from_state: str | None = None,
    to_state: str | None = None,
) -> None:
    events.record(
        session,
        kind,
        person,
        now=now,
        actor_id=actor_id,
        changed=changed,
        from_state=from_state,
        to_state=to_state,
        named={"manager_id": person.manager_id},
    )


def _with_defaults(values: Mapping[str, Any], organization: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **values,
        "locale": values.get("locale") or organization["default_locale"],
        "timezone": values.get("timezone") or organization["default_timezone"],
    }


async def _refuse_known(session: AsyncSession, *, organization_id: UUID, person_id: UUID) -> None:
    if await queries.find(session, organization_id=organization_id, person_id=person_id):
        raise ConflictError("A person with this id is known already.", code="already_exists")


async def _check_new(
    session: AsyncSession, person: Person, external_ids: Sequence[tuple[str, str]]
) -> None:
    await _refuse_taken_email(session, person, email=person.email)
    await _refuse_cycle(session, person, manager_id=person.manager_id)
    for source, external_id in external_ids:
        if await queries.find_by_external_id(
            session,
            organization_id=person.organization_id,
            source=source,
            external_id=external_id,
        ):
            raise ConflictError(
                "This external id belongs to somebody else.", code="duplicate_external_id"
            )


async def _keep_role_holder(session: AsyncSession, person: Person, *, is_by_office: bool) -> None:
    if not is_by_office:
        await credentials.keep_role_holder(
            session, organization_id=person.organization_id, person_id=person.id
        )


async def _refuse_taken_email(session: AsyncSession, person: Person, *, email: str) -> None:
    if await queries.is_email_taken(
        session, organization_id=person.organization_id, email=email, except_id=person.id
    ):
        raise ConflictError("This address belongs to somebody else.", code="duplicate_email")


async def _refuse_cycle(session: AsyncSession, person: Person, *, manager_id: UUID | None) -> None:
    if manager_id is None:
        return
    # Two moves at once could close a circle that neither sees; reporting lines change in turn.
    await session.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:line, 1))"),
        {"line": f"reporting-line:{person.organization_id}"},
    )
    chain = await queries.manager_chain(
        session, organization_id=person.organization_id, person_id=manager_id
    )
    if not chain and manager_id != person.id:
        raise unknown_reference("#/manager_id")
    if person.id in chain or manager_id == person.id:
        raise rules.manager_cycle()


def _link(
    session: AsyncSession,
    person: Person,
    external_ids: Sequence[tuple[str, str]],
    *,
    now: datetime,
) -> None:
    for source, external_id in external_ids:
        session.add(
            ExternalId(
                organization_id=person.organization_id,
                source=source,
                external_id=external_id,
                person_id=person.id,
                created_at=now,
            )
        )


async def _tell_door(session: AsyncSession, person: Person) -> None:
    await access.put_subject(
        session,
        organization_id=person.organization_id,
        person_id=person.id,
        is_active=PersonStatus(person.status) in rules.SIGNS_IN,
    )
