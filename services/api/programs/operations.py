"""Draft, publish and run programs; their tracks, forms and policies."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor
from services.api.credentials import operations as credentials
from services.api.events import operations as events
from services.api.people import queries as people
from services.api.programs import queries, rules
from services.api.programs.rules import (
    FORMATS,
    KNOWN_OF_EVERYBODY,
    Format,
    FormStatus,
    MatchMode,
    ProgramAction,
    ProgramKind,
    ProgramStatus,
    Seniority,
    Setup,
    TrackRole,
    TrackShape,
)
from services.api.programs.tables import AgreementTemplate, Form, MatchPolicy, Program, Track
from services.api.timers import operations as timers
from shared import ids
from shared.errors import ConflictError, InvalidError, NotFoundError, Violation, unknown_reference
from shared.persistence.reads import Reader, SessionReader
from shared.web.preconditions import accept_match, require_match

EVENT_OF_ACTION: Mapping[ProgramAction, str] = {
    ProgramAction.PUBLISH: "program.published",
    ProgramAction.OPEN_REGISTRATION: "program.registration_opened",
    ProgramAction.CLOSE_REGISTRATION: "program.registration_closed",
    ProgramAction.REOPEN_REGISTRATION: "program.registration_reopened",
    ProgramAction.START_MATCHING: "program.matching_started",
    ProgramAction.START: "program.started",
    ProgramAction.GO_LIVE: "program.started",
    ProgramAction.WIND_DOWN: "program.winding_down",
    ProgramAction.COMPLETE: "program.completed",
    ProgramAction.CANCEL: "program.cancelled",
    ProgramAction.ARCHIVE: "program.archived",
}
WIND_DOWN_DAYS = 42
PROBE = (ProgramStatus.DRAFT,)


async def create(
    session: AsyncSession,
    *,
    actor: Actor,
    values: Mapping[str, Any],
    coordinator_ids: Sequence[UUID],
    program_id: UUID | None,
    now: datetime,
) -> Program:
    """Draft a program and grant its coordinators their role."""
    if await queries.is_code_taken(
        session, organization_id=actor.organization_id, code=values["code"]
    ):
        raise ConflictError("Another program has this code.", code="already_exists")
    program = Program(
        organization_id=actor.organization_id,
        id=program_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        **values,
    )
    _check(program)
    await _check_support_person(session, program)
    session.add(program)
    await session.flush()
    for person_id in coordinator_ids or _alone(actor):
        await credentials.grant(
            session,
            organization_id=actor.organization_id,
            granted_by=actor.person_id,
            person_id=person_id,
            role=Role.COORDINATOR,
            program_id=program.id,
            now=now,
        )
    _record(session, "program.created", program, actor=actor, now=now)
    return program


def _alone(actor: Actor) -> list[UUID]:
    return [actor.person_id] if actor.person_id else []


async def change(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> Program:
    """Change the named fields of a program and record which."""
    program = await _load(session, actor, program_id, "program.change")
    require_match(if_match, version=program.version)
    changed = [name for name, value in changes.items() if getattr(program, name) != value]
    for name in changed:
        setattr(program, name, changes[name])
    _check(program)
    await _check_support_person(session, program)
    if changed:
        _touch(program, now)
        _record(session, "program.changed", program, actor=actor, changed=changed, now=now)
    return program


async def act(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    action: ProgramAction,
    permission: str,
    if_match: str | None,
    now: datetime,
) -> Program:
    """Take a program from one state to the next."""
    program = await _load(session, actor, program_id, permission)
    accept_match(if_match, version=program.version)
    rules.next_status(program.status, action)
    if action is ProgramAction.PUBLISH:
        await _require_setup(session, program, now=now)
    if action is ProgramAction.GO_LIVE and program.kind is not ProgramKind.EVERGREEN:
        raise ConflictError(
            "Only an evergreen program goes live at once.",
            code="invalid_transition",
            allowed=[ProgramAction.OPEN_REGISTRATION],
        )
    if action is ProgramAction.OPEN_REGISTRATION and program.kind is not ProgramKind.COHORT:
        raise ConflictError(
            "Only a cohort opens registration; an evergreen program goes live.",
            code="invalid_transition",
            allowed=[ProgramAction.GO_LIVE],
        )
    await advance(session, program=program, action=action, actor_id=actor.person_id, now=now)
    return program


async def wind_down(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    ends_on: date | None,
    if_match: str | None,
    now: datetime,
) -> Program:
    """End new matches; an evergreen program is given its last day here."""
    program = await _load(session, actor, program_id, "program.change")
    accept_match(if_match, version=program.version)
    rules.next_status(program.status, ProgramAction.WIND_DOWN)
    if program.kind is ProgramKind.EVERGREEN:
        if ends_on is None or ends_on <= now.date():
            detail = "Name a day to come on which the program ends."
            raise InvalidError(errors=[Violation("#/ends_on", "missing", detail)])
        program.ends_on = ends_on
    await advance(
        session,
        program=program,
        action=ProgramAction.WIND_DOWN,
        actor_id=actor.person_id,
        now=now,
    )
    return program


async def cancel(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    confirmed: int,
    if_match: str | None,
    now: datetime,
) -> Program:
    """Call a program off, once whoever does it has repeated how many mentorships it ends."""
    program = await _load(session, actor, program_id, "program.cancel")
    accept_match(if_match, version=program.version)
    rules.next_status(program.status, ProgramAction.CANCEL)
    live = await queries.count_live_mentorships(
        session, organization_id=actor.organization_id, program_id=program_id
    )
    if confirmed != live:
        raise ConflictError(
            f"{live} live mentorships would end; repeat that number to confirm.",
            code="confirm_count",
        )
    await advance(
        session,
        program=program,
        action=ProgramAction.CANCEL,
        actor_id=actor.person_id,
        now=now,
    )
    return program


def require_policy_reader(actor: Actor, program_id: UUID) -> None:
    """Refuse whoever may see a program but not how its matching weighs."""
    access.require("policy.read", actor.facts(program_id=program_id))


async def advance(
    session: AsyncSession,
    *,
    program: Program,
    action: ProgramAction,
    actor_id: UUID | None,
    now: datetime,
) -> None:
    """Apply an action to a locked program, whoever wants it; record it and set its timers."""
    before = program.status
    program.status = rules.next_status(before, action)
    if action is ProgramAction.GO_LIVE:
        program.accepting_participants = True
    if program.kind is ProgramKind.COHORT:
        program.accepting_participants = program.status is ProgramStatus.REGISTRATION_OPEN
    program.touch(now)
    events.record(
        session,
        EVENT_OF_ACTION[action],
        program,
        now=now,
        actor_id=actor_id,
        program_id=program.id,
        from_state=before,
        to_state=program.status,
    )
    await _set_timers(session, program, action)


async def _set_timers(session: AsyncSession, program: Program, action: ProgramAction) -> None:
    if action in {ProgramAction.CANCEL, ProgramAction.COMPLETE}:
        await timers.cancel(session, organization_id=program.organization_id, subject_id=program.id)
    if action is not ProgramAction.PUBLISH or program.kind is not ProgramKind.COHORT:
        return
    ends_on = program.ends_on
    due = {
        "program.open_registration": program.registration_opens_on,
        "program.close_registration": program.registration_closes_on
        and program.registration_closes_on + timedelta(days=1),
        "program.wind_down": ends_on and ends_on - timedelta(days=WIND_DOWN_DAYS),
    }
    for kind, day in due.items():
        if day is not None:
            await timers.schedule(
                session,
                organization_id=program.organization_id,
                kind=kind,
                subject_id=program.id,
                due_at=midnight(day),
            )


def midnight(day: date) -> datetime:
    """Return the beginning of a day, in UTC."""
    return datetime.combine(day, time(), UTC)


async def switch(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    field: str,
    is_on: bool,
    now: datetime,
) -> Program:
    """Turn one of a program's switches; evergreen programs accept people by such a switch."""
    program = await _load(session, actor, program_id, "program.change")
    if field == "accepting_participants" and not (
        program.kind is ProgramKind.EVERGREEN and program.status is ProgramStatus.RUNNING
    ):
        raise ConflictError(
            "Only a running evergreen program has this switch.", code="invalid_transition"
        )
    if getattr(program, field) != is_on:
        setattr(program, field, is_on)
        program.touch(now)
        _record(session, "program.changed", program, actor=actor, changed=[field], now=now)
    return program


async def _require_setup(session: AsyncSession, program: Program, *, now: datetime) -> None:
    tracks = await queries.tracks_of(
        session, organization_id=program.organization_id, program_id=program.id
    )
    await _give_template(session, program, tracks, now=now)
    forms = await queries.published_forms(
        session, organization_id=program.organization_id, program_id=program.id
    )
    asked = {form.role for form in forms}
    needed = {role for track in tracks for role in FORMATS[track.format].roles}
    setup = Setup(
        formats=tuple(track.format for track in tracks),
        roles_without_form=frozenset(needed - asked - {TrackRole.FACILITATOR}),
        tracks_without_policy=sum(_lacks_policy(track) for track in tracks),
        tracks_without_agreement=sum(
            track.agreement_template_id is None
            for track in tracks
            if FORMATS[track.format].needs_agreement
        ),
        has_support_contact=bool(program.support_person_id or program.support_email),
    )
    missing = rules.missing_for_publication(setup)
    if missing:
        raise ConflictError(
            "The program lacks something people will need.", code="not_ready", errors=missing
        )


def _lacks_policy(track: Track) -> bool:
    return track.policy_id is None and not rules.POLICY_MODES.isdisjoint(track.match_modes)


async def _give_template(
    session: AsyncSession, program: Program, tracks: Sequence[Track], *, now: datetime
) -> None:
    lacking = [
        track
        for track in tracks
        if track.agreement_template_id is None and FORMATS[track.format].needs_agreement
    ]
    if lacking:
        template = await ensure_template(session, organization_id=program.organization_id, now=now)
        for track in lacking:
            track.agreement_template_id = template.id


async def ensure_template(
    session: AsyncSession, *, organization_id: UUID, now: datetime
) -> AgreementTemplate:
    """Return the organization's own agreement template, made the first time."""
    known = await queries.built_in_template(session, organization_id=organization_id)
    if known is not None:
        return known
    template = AgreementTemplate(
        organization_id=organization_id,
        id=ids.derived_id("agreement-template", str(organization_id)),
        created_at=now,
        updated_at=now,
        name="Agreement",
        sections=[dict(section) for section in rules.BUILT_IN_SECTIONS],
    )
    session.add(template)
    await session.flush()
    return template


async def add_track(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    values: Mapping[str, Any],
    track_id: UUID | None,
    now: datetime,
) -> Track:
    """Add a track; what the request leaves out follows the format."""
    program = await _load(session, actor, program_id, "program.change")
    track = Track(
        organization_id=actor.organization_id,
        id=track_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=program.id,
        **_with_usual(values),
    )
    await _check_track(session, track)
    session.add(track)
    _touch(program, now)
    _record(session, "program.changed", program, actor=actor, changed=["tracks"], now=now)
    return track


async def change_track(
    session: AsyncSession,
    *,
    actor: Actor,
    track_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> Track:
    """Change the named fields of a track; its format is fixed once the program is published."""
    track = await queries.lock_part(
        session, Track, organization_id=actor.organization_id, part_id=track_id
    )
    program = await _load(session, actor, track.program_id, "program.change")
    require_match(if_match, version=track.version)
    if changes.get("format", track.format) != track.format and program.status not in PROBE:
        raise ConflictError("The format is fixed once people can see it.", code="config_frozen")
    for name, value in changes.items():
        setattr(track, name, value)
    await _check_track(session, track)
    track.touch(now)
    _touch(program, now)
    _record(session, "program.changed", program, actor=actor, changed=["tracks"], now=now)
    return track


def _with_usual(values: Mapping[str, Any]) -> dict[str, Any]:
    usual = FORMATS[values["format"]]
    only = next(iter(usual.seniority)) if len(usual.seniority) == 1 else Seniority.NONE
    fallback = {
        "meeting_minutes": usual.usual_minutes,
        "min_members": usual.usual_members[0],
        "max_members": usual.usual_members[1],
        "seniority": only,
        "grade_gap_min": usual.usual_gap_min,
        "grade_gap_max": usual.usual_gap_max,
    }
    filled = {
        name: values[name] if values[name] is not None else usual_value
        for name, usual_value in fallback.items()
    }
    return {**values, **filled}


async def _check_track(session: AsyncSession, track: Track) -> None:
    broken = rules.broken_rules(
        TrackShape(
            format=Format(track.format),
            match_modes=frozenset(map(MatchMode, track.match_modes)),
            meeting_minutes=track.meeting_minutes,
            min_members=track.min_members,
            max_members=track.max_members,
            seniority=Seniority(track.seniority),
            grade_gap_min=track.grade_gap_min,
            grade_gap_max=track.grade_gap_max,
        )
    )
    if broken:
        raise ConflictError(
            f"A track of the format {track.format} cannot be like this.",
            code="format_rule_broken",
            errors=broken,
        )
    await _check_reference(session, MatchPolicy, track, track.policy_id, "#/policy_id")
    await _check_reference(
        session,
        AgreementTemplate,
        track,
        track.agreement_template_id,
        "#/agreement_template_id",
    )


async def _check_reference(
    session: AsyncSession,
    table: type[MatchPolicy] | type[AgreementTemplate],
    track: Track,
    part_id: UUID | None,
    pointer: str,
) -> None:
    if part_id is None:
        return
    # Written before it is looked for, the database would refuse it and not say where it stands.
    with session.no_autoflush:
        found: MatchPolicy | AgreementTemplate | None = await session.get(
            table, (track.organization_id, part_id)
        )
    if found is None or found.program_id not in {None, track.program_id}:
        raise unknown_reference(pointer)


async def add_form(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    role: TrackRole,
    fields: list[dict[str, Any]],
    form_id: UUID | None,
    now: datetime,
) -> Form:
    """Draft a form for a role."""
    program = await _load(session, actor, program_id, "program.change")
    _check_fields(fields)
    newest = await queries.newest_form_version(
        session, organization_id=actor.organization_id, program_id=program.id, role=role
    )
    form = Form(
        organization_id=actor.organization_id,
        id=form_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=program.id,
        role=role,
        form_version=newest + 1,
        fields=fields,
    )
    session.add(form)
    return form


FREE_TEXT = frozenset({"short_text", "long_text", "url"})
CHOICES = frozenset({"single_choice", "multi_choice", "ranked_choice"})


def _check_fields(fields: list[dict[str, Any]]) -> None:
    keys = [field["key"] for field in fields]
    for index, field in enumerate(fields):
        pointer = f"#/fields/{index}"
        if field["key"] in keys[:index]:
            raise InvalidError(
                errors=[Violation(f"{pointer}/key", "not_unique", "Each key stands once.")]
            )
        if field["type"] in CHOICES and not field["options"]:
            raise InvalidError(
                errors=[Violation(f"{pointer}/options", "missing", "A choice needs options.")]
            )
        if field["matchable"] and field["type"] in FREE_TEXT:
            raise _not_matchable(f"{pointer}/matchable", "Free text is never matched on.")
        if field["matchable"] and field["key"] in KNOWN_OF_EVERYBODY:
            detail = "Policies know this of everybody already; give the question another key."
            raise _not_matchable(f"{pointer}/key", detail)


def _not_matchable(pointer: str, detail: str) -> ConflictError:
    return ConflictError(
        detail, code="not_matchable", errors=[Violation(pointer, "not_matchable", detail)]
    )


async def set_form_status(
    session: AsyncSession, *, actor: Actor, form_id: UUID, status: FormStatus, now: datetime
) -> Form:
    """Publish a drafted form, or retire a published one."""
    form = await queries.lock_part(
        session, Form, organization_id=actor.organization_id, part_id=form_id
    )
    await _load(session, actor, form.program_id, "program.change")
    expected = FormStatus.DRAFT if status is FormStatus.PUBLISHED else FormStatus.PUBLISHED
    if form.status is not expected:
        raise ConflictError(
            f"A form that is {form.status} cannot become {status}.",
            code="invalid_transition",
            allowed=["publish"] if form.status is FormStatus.DRAFT else [],
        )
    form.status = status
    form.touch(now)
    return form


async def add_policy(
    session: AsyncSession,
    *,
    actor: Actor,
    program_id: UUID,
    values: Mapping[str, Any],
    policy_id: UUID | None,
    now: datetime,
) -> MatchPolicy:
    """Add a match policy to a program."""
    try:
        program = await _load(session, actor, program_id, "policy.change")
    except NotFoundError:
        raise unknown_reference("#/program_id") from None
    _check_rules(values)
    await _require_tests(session, actor, values)
    policy = MatchPolicy(
        organization_id=actor.organization_id,
        id=policy_id or ids.new_id(),
        created_at=now,
        updated_at=now,
        program_id=program.id,
        **_stored(values),
    )
    session.add(policy)
    return policy


async def change_policy(
    session: AsyncSession,
    *,
    actor: Actor,
    policy_id: UUID,
    changes: Mapping[str, Any],
    if_match: str | None,
    now: datetime,
) -> MatchPolicy:
    """Change a policy; of one that a run has used, only what runs do not go by."""
    policy = await queries.lock_part(
        session, MatchPolicy, organization_id=actor.organization_id, part_id=policy_id
    )
    await _load(session, actor, policy.program_id, "policy.change")
    require_match(if_match, version=policy.version)
    touches_rules = bool(changes.keys() - rules.BESIDE_THE_RULES)
    if policy.frozen and touches_rules:
        raise ConflictError(
            "A run has used this policy, so only its name and tests change; add a new one.",
            code="policy_frozen",
        )
    _check_rules(changes)
    await _require_tests(session, actor, changes)
    for name, value in _stored(changes).items():
        setattr(policy, name, value)
    if touches_rules:
        policy.policy_version += 1
    policy.touch(now)
    return policy


async def freeze_policy(
    session: AsyncSession, *, organization_id: UUID, policy_id: UUID
) -> MatchPolicy:
    """Fix a policy because a run uses it; what it said then can always be read."""
    policy = await queries.lock_part(
        session, MatchPolicy, organization_id=organization_id, part_id=policy_id
    )
    policy.frozen = True
    return policy


async def require_sound_tests(
    reader: Reader, *, organization_id: UUID, tests: Sequence[Mapping[str, Any]], pointer: str
) -> None:
    """Refuse tests of a policy that say nothing, or name somebody not of the organization."""
    if broken := rules.broken_tests(tests, pointer):
        raise InvalidError(errors=broken)
    named = {one for test in tests for one in test["people"]}
    unknown = named - await people.known(reader, organization_id=organization_id, person_ids=named)
    for index, test in enumerate(tests):
        for place, one in enumerate(test["people"]):
            if one in unknown:
                raise unknown_reference(f"{pointer}/{index}/people/{place}")


async def _require_tests(session: AsyncSession, actor: Actor, values: Mapping[str, Any]) -> None:
    await require_sound_tests(
        SessionReader(session),
        organization_id=actor.organization_id,
        tests=values.get("tests", ()),
        pointer="#/tests",
    )


def _stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a policy as its row holds them: JSON knows no ids but as text."""
    if "tests" not in values:
        return dict(values)
    tests = [
        {**one, "people": [str(person) for person in one["people"]]} for one in values["tests"]
    ]
    return {**values, "tests": tests}


def _check_rules(values: Mapping[str, Any]) -> None:
    broken = rules.broken_policy(values)
    if broken:
        raise InvalidError(errors=broken)


async def _load(session: AsyncSession, actor: Actor, program_id: UUID, permission: str) -> Program:
    """Lock a program the actor may act on: 404 for who may not know it, 403 for who may not act."""
    program = await queries.lock(
        session, organization_id=actor.organization_id, program_id=program_id
    )
    facts = actor.facts(program_id=program_id)
    if program.status is ProgramStatus.DRAFT and not access.holds("program.read_draft", facts):
        raise NotFoundError
    access.require(permission, facts)
    return program


def _check(program: Program) -> None:
    broken = rules.broken_dates(
        program.kind,
        opens_on=program.registration_opens_on,
        closes_on=program.registration_closes_on,
        starts_on=program.starts_on,
        ends_on=program.ends_on,
    )
    if broken:
        raise InvalidError(errors=broken)
    if program.sensitive:
        program.people_manager_visibility = rules.Visibility.NONE
        program.manager_acknowledgement = rules.ManagerAcknowledgement.OFF


async def _check_support_person(session: AsyncSession, program: Program) -> None:
    person_id = program.support_person_id
    if person_id is None:
        return
    # As with the parts of a track.
    with session.no_autoflush:
        found = await people.find(
            session, organization_id=program.organization_id, person_id=person_id
        )
    if found is None:
        raise unknown_reference("#/support_contact/person_id")


def _touch(program: Program, now: datetime) -> None:
    program.config_version += 1
    program.touch(now)


def _record(
    session: AsyncSession,
    kind: str,
    program: Program,
    *,
    actor: Actor,
    changed: Sequence[str] = (),
    now: datetime,
) -> None:
    events.record(
        session,
        kind,
        program,
        now=now,
        actor_id=actor.person_id,
        program_id=program.id,
        to_state=program.status,
        changed=changed,
    )
