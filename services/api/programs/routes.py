"""Programs, tracks, forms, match policies and agreement templates."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Body, Query, Request, Response

from services.api.access import rules as access
from services.api.access.rules import Actor, Scope
from services.api.dependencies import (
    ActorDep,
    IfMatchDep,
    NowDep,
    ReaderDep,
    SessionDep,
    allow,
    cursors,
    door,
    next_link,
)
from services.api.programs import operations, queries, rules
from services.api.programs.rules import FormStatus, ProgramAction, ProgramKind, ProgramStatus
from services.api.programs.schemas import (
    Cancellation,
    FormCreate,
    FormId,
    FormPage,
    FormView,
    PoliciesQuery,
    PolicyCreate,
    PolicyId,
    PolicyPage,
    PolicyPatch,
    PolicyTestView,
    PolicyView,
    ProgramCreate,
    ProgramId,
    ProgramPage,
    ProgramPatch,
    ProgramsQuery,
    ProgramView,
    SupportContactView,
    TemplateId,
    TemplatePage,
    TemplateView,
    TrackCreate,
    TrackId,
    TrackPage,
    TrackPatch,
    TrackView,
    WindDown,
)
from services.api.programs.tables import AgreementTemplate, Form, MatchPolicy, Program, Track
from shared import ids
from shared.web import responses
from shared.web.pagination import Page

router = door("programs")

READ, WRITE = Scope.PROGRAMS_READ, Scope.PROGRAMS_WRITE
MERGE_PATCH = "application/merge-patch+json"


def present(row: Mapping[str, Any], actor: Actor) -> ProgramView:
    """Show a program."""
    status, kind = ProgramStatus(row["status"]), ProgramKind(row["kind"])
    return ProgramView(
        id=ids.format_id("program", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        name=row["name"],
        code=row["code"],
        description=row["description"],
        kind=kind,
        status=status,
        allowed=access.offered(
            actor, rules.allowed_actions(status), rules.NEEDS, actor.facts(program_id=row["id"])
        ),
        accepting_participants=rules.is_accepting(
            kind, status, is_switched_on=row["accepting_participants"]
        ),
        matching_paused=row["matching_paused"],
        registration_opens_on=row["registration_opens_on"],
        registration_closes_on=row["registration_closes_on"],
        starts_on=row["starts_on"],
        ends_on=row["ends_on"],
        sensitive=row["sensitive"],
        support_contact=SupportContactView(
            person_id=ids.format_optional("person", row["support_person_id"]),
            email=row["support_email"],
        ),
        people_manager_visibility=row["people_manager_visibility"],
        manager_acknowledgement=row["manager_acknowledgement"],
        manager_silence=row["manager_silence"],
        coordinator_review=row["coordinator_review"],
        config_version=row["config_version"],
    )


def present_track(row: Mapping[str, Any]) -> TrackView:
    """Show a track."""
    return TrackView(
        id=ids.format_id("track", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        name=row["name"],
        format=row["format"],
        match_modes=row["match_modes"],
        policy_id=ids.format_optional("match_policy", row["policy_id"]),
        agreement_template_id=ids.format_optional(
            "agreement_template", row["agreement_template_id"]
        ),
        cadence=row["cadence"],
        meeting_minutes=row["meeting_minutes"],
        length_days=row["length_days"],
        min_members=row["min_members"],
        max_members=row["max_members"],
        seniority=row["seniority"],
        grade_gap_min=row["grade_gap_min"],
        grade_gap_max=row["grade_gap_max"],
        consent_sides=row["consent_sides"],
        request_approval=row["request_approval"],
    )


def present_form(row: Mapping[str, Any]) -> FormView:
    """Show a form."""
    return FormView(
        id=ids.format_id("form", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        role=row["role"],
        form_version=row["form_version"],
        status=row["status"],
        fields=row["fields"],
    )


def present_policy(row: Mapping[str, Any]) -> PolicyView:
    """Show a match policy."""
    return PolicyView(
        id=ids.format_id("match_policy", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_id("program", row["program_id"]),
        name=row["name"],
        policy_version=row["policy_version"],
        hard=row["hard"],
        soft=row["soft"],
        objective=row["objective"],
        floor=row["floor"],
        stay_bonus=row["stay_bonus"],
        text_model=row["text_model"],
        seed=row["seed"],
        limits=row["limits"],
        tests=[
            PolicyTestView(
                name=one["name"],
                people=[ids.format_id("person", person) for person in one["people"]],
                expect=one["expect"],
            )
            for one in rules.tests_of(row)
        ],
        frozen=row["frozen"],
    )


def present_template(row: Mapping[str, Any]) -> TemplateView:
    """Show an agreement template."""
    return TemplateView(
        id=ids.format_id("agreement_template", row["id"]),
        version=row["version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        program_id=ids.format_optional("program", row["program_id"]),
        name=row["name"],
        sections=row["sections"],
    )


def _support(values: dict[str, Any]) -> dict[str, Any]:
    """Spread a support contact over its columns."""
    if "support_contact" in values:
        contact = values.pop("support_contact") or {}
        values["support_person_id"] = contact.get("person_id")
        values["support_email"] = contact.get("email")
    return values


def _answer(program: Program, actor: Actor) -> Response:
    return responses.one(present(program.model_dump(), actor), version=program.version)


@router.get(
    "/programs",
    summary="List programs",
    response_model=ProgramPage,
    openapi_extra=allow("program.list", READ),
)
async def list_programs(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[ProgramsQuery, Query()],
) -> Response:
    """Return programs, oldest first. Drafts are shown to those who work on them."""
    place = cursors(request, query)
    rows = await queries.list_page(
        reader,
        actor=actor,
        filters=query.model_dump(exclude={"limit", "cursor"}, exclude_none=True),
        after=place.after(),
        limit=query.limit,
    )
    shown, cursor = place.cut(rows, lambda row: (str(row["id"]),))
    return responses.page(
        [present(row, actor) for row in shown], cursor, link=next_link(request, cursor)
    )


@router.post(
    "/programs",
    summary="Draft a program",
    status_code=201,
    response_model=ProgramView,
    openapi_extra=allow("program.create", WRITE),
)
async def create_program(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: ProgramCreate
) -> Response:
    """Draft a program. Its coordinators design it; nobody else sees it until it is published."""
    program = await operations.create(
        session,
        actor=actor,
        values=_support(body.model_dump(exclude={"id", "coordinator_ids"})),
        coordinator_ids=body.coordinator_ids,
        program_id=body.id,
        now=now,
    )
    view = present(program.model_dump(), actor)
    return responses.created(view, version=program.version, location=f"/v1/programs/{view['id']}")


@router.get(
    "/programs/{program_id}",
    summary="Read a program",
    response_model=ProgramView,
    openapi_extra=allow("program.read", READ),
)
async def get_program(*, program_id: ProgramId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a program with the actions its state permits."""
    row = await queries.get(reader, actor=actor, program_id=program_id)
    return responses.one(present(row, actor), version=row["version"])


@router.patch(
    "/programs/{program_id}",
    summary="Change a program",
    response_model=ProgramView,
    openapi_extra=allow("program.change", WRITE),
)
async def change_program(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[ProgramPatch, Body(media_type=MERGE_PATCH)],
    if_match: IfMatchDep = None,
) -> Response:
    """Change a program; fields left out stay as they are."""
    program = await operations.change(
        session,
        actor=actor,
        program_id=program_id,
        changes=_support(body.sent()),
        if_match=if_match,
        now=now,
    )
    return _answer(program, actor)


ACTIONS = (
    (ProgramAction.PUBLISH, "publish_program", "program.change", "Publish a program"),
    (ProgramAction.OPEN_REGISTRATION, "open_registration", "program.change", "Open registration"),
    (
        ProgramAction.CLOSE_REGISTRATION,
        "close_registration",
        "program.change",
        "Close registration",
    ),
    (
        ProgramAction.REOPEN_REGISTRATION,
        "reopen_registration",
        "program.change",
        "Reopen registration",
    ),
    (ProgramAction.START_MATCHING, "start_matching", "program.change", "Start matching"),
    (ProgramAction.GO_LIVE, "go_live", "program.change", "Take an evergreen program live"),
    (ProgramAction.COMPLETE, "complete_program", "program.complete", "Complete a program"),
    (ProgramAction.ARCHIVE, "archive_program", "program.archive", "Archive a program"),
)


def _mount_action(action: ProgramAction, name: str, permission: str, summary: str) -> None:
    async def endpoint(
        *,
        program_id: ProgramId,
        actor: ActorDep,
        session: SessionDep,
        now: NowDep,
        if_match: IfMatchDep = None,
    ) -> Response:
        program = await operations.act(
            session,
            actor=actor,
            program_id=program_id,
            action=action,
            permission=permission,
            if_match=if_match,
            now=now,
        )
        return _answer(program, actor)

    endpoint.__name__ = name
    router.post(
        f"/programs/{{program_id}}/{action}",
        name=name,
        summary=summary,
        description=f"{summary}. An illegal moment answers 409 with what is allowed instead.",
        response_model=ProgramView,
        openapi_extra=allow(permission, WRITE),
    )(endpoint)


for _action in ACTIONS:
    _mount_action(*_action)


@router.post(
    "/programs/{program_id}/wind-down",
    summary="Wind a program down",
    response_model=ProgramView,
    openapi_extra=allow("program.change", WRITE),
)
async def wind_down(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: WindDown,
    if_match: IfMatchDep = None,
) -> Response:
    """End new matches. An evergreen program says on which day it ends."""
    program = await operations.wind_down(
        session,
        actor=actor,
        program_id=program_id,
        ends_on=body.ends_on,
        if_match=if_match,
        now=now,
    )
    return _answer(program, actor)


@router.post(
    "/programs/{program_id}/cancel",
    summary="Cancel a program",
    response_model=ProgramView,
    openapi_extra=allow("program.cancel", WRITE),
)
async def cancel_program(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Cancellation,
    if_match: IfMatchDep = None,
) -> Response:
    """Call a program off. The body repeats how many live mentorships will go to closing."""
    program = await operations.cancel(
        session,
        actor=actor,
        program_id=program_id,
        confirmed=body.live_mentorships,
        if_match=if_match,
        now=now,
    )
    return _answer(program, actor)


SWITCHES = (
    ("accept-participants", "accept_participants", "accepting_participants", True),
    ("stop-accepting", "stop_accepting", "accepting_participants", False),
    ("pause-matching", "pause_matching_of_program", "matching_paused", True),
    ("resume-matching", "resume_matching_of_program", "matching_paused", False),
)


def _mount_switch(path: str, name: str, field: str, is_on: bool) -> None:  # noqa: FBT001 - one row of a table
    async def endpoint(
        *, program_id: ProgramId, actor: ActorDep, session: SessionDep, now: NowDep
    ) -> Response:
        program = await operations.switch(
            session, actor=actor, program_id=program_id, field=field, is_on=is_on, now=now
        )
        return _answer(program, actor)

    endpoint.__name__ = name
    words = path.replace("-", " ").capitalize()
    router.post(
        f"/programs/{{program_id}}/{path}",
        name=name,
        summary=words,
        description=f"{words}; repeating it changes nothing.",
        response_model=ProgramView,
        openapi_extra=allow("program.change", WRITE),
    )(endpoint)


for _switch in SWITCHES:
    _mount_switch(*_switch)


async def _parts(  # noqa: PLR0917 - one list, whatever its rows
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    query: Page,
    program_id: ProgramId,
    table: queries.Part,
    show: Any,
) -> Response:
    await queries.get(reader, actor=actor, program_id=program_id)
    place = cursors(request, query)
    rows = await queries.list_parts(
        reader,
        table,
        organization_id=actor.organization_id,
        program_id=program_id,
        after=place.after(),
        limit=query.limit,
    )
    shown, cursor = place.cut(rows, lambda row: (str(row["id"]),))
    return responses.page([show(row) for row in shown], cursor, link=next_link(request, cursor))


@router.get(
    "/programs/{program_id}/tracks",
    summary="List tracks",
    response_model=TrackPage,
    openapi_extra=allow("program.read", READ),
)
async def list_tracks(
    *,
    request: Request,
    program_id: ProgramId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return the tracks of a program, oldest first."""
    return await _parts(request, actor, reader, query, program_id, Track, present_track)


@router.post(
    "/programs/{program_id}/tracks",
    summary="Add a track",
    status_code=201,
    response_model=TrackView,
    openapi_extra=allow("program.change", WRITE),
)
async def create_track(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: TrackCreate,
) -> Response:
    """Add a format to a program; what is left out follows the format's usual values."""
    track = await operations.add_track(
        session,
        actor=actor,
        program_id=program_id,
        values=body.model_dump(exclude={"id"}),
        track_id=body.id,
        now=now,
    )
    view = present_track(track.model_dump())
    return responses.created(view, version=track.version, location=f"/v1/tracks/{view['id']}")


@router.get(
    "/tracks/{track_id}",
    summary="Read a track",
    response_model=TrackView,
    openapi_extra=allow("program.read", READ),
)
async def get_track(*, track_id: TrackId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a track of a visible program."""
    row = await queries.get_part(reader, Track, actor=actor, part_id=track_id)
    return responses.one(present_track(row), version=row["version"])


@router.patch(
    "/tracks/{track_id}",
    summary="Change a track",
    response_model=TrackView,
    openapi_extra=allow("program.change", WRITE),
)
async def change_track(
    *,
    track_id: TrackId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[TrackPatch, Body(media_type=MERGE_PATCH)],
    if_match: IfMatchDep = None,
) -> Response:
    """Change a track; the whole of it must still obey its format."""
    track = await operations.change_track(
        session,
        actor=actor,
        track_id=track_id,
        changes=body.sent(),
        if_match=if_match,
        now=now,
    )
    return responses.one(present_track(track.model_dump()), version=track.version)


@router.get(
    "/programs/{program_id}/forms",
    summary="List forms",
    response_model=FormPage,
    openapi_extra=allow("program.read", READ),
)
async def list_forms(
    *,
    request: Request,
    program_id: ProgramId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return the forms of a program, oldest first."""
    return await _parts(request, actor, reader, query, program_id, Form, present_form)


@router.post(
    "/programs/{program_id}/forms",
    summary="Draft a form",
    status_code=201,
    response_model=FormView,
    openapi_extra=allow("program.change", WRITE),
)
async def create_form(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: FormCreate,
) -> Response:
    """Draft the questions to a role. A published form no longer changes."""
    form = await operations.add_form(
        session,
        actor=actor,
        program_id=program_id,
        role=body.role,
        fields=[field.model_dump() for field in body.fields],
        form_id=body.id,
        now=now,
    )
    view = present_form(form.model_dump())
    return responses.created(view, version=form.version, location=f"/v1/forms/{view['id']}")


@router.get(
    "/forms/{form_id}",
    summary="Read a form",
    response_model=FormView,
    openapi_extra=allow("program.read", READ),
)
async def get_form(*, form_id: FormId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a form of a visible program."""
    row = await queries.get_part(reader, Form, actor=actor, part_id=form_id)
    return responses.one(present_form(row), version=row["version"])


@router.post(
    "/forms/{form_id}/publish",
    summary="Publish a form",
    response_model=FormView,
    openapi_extra=allow("program.change", WRITE),
)
async def publish_form(
    *, form_id: FormId, actor: ActorDep, session: SessionDep, now: NowDep
) -> Response:
    """Fix a form and offer it to its role."""
    form = await operations.set_form_status(
        session, actor=actor, form_id=form_id, status=FormStatus.PUBLISHED, now=now
    )
    return responses.one(present_form(form.model_dump()), version=form.version)


@router.post(
    "/forms/{form_id}/retire",
    summary="Retire a form",
    response_model=FormView,
    openapi_extra=allow("program.change", WRITE),
)
async def retire_form(
    *, form_id: FormId, actor: ActorDep, session: SessionDep, now: NowDep
) -> Response:
    """Offer a form no longer; answers to it stay."""
    form = await operations.set_form_status(
        session, actor=actor, form_id=form_id, status=FormStatus.RETIRED, now=now
    )
    return responses.one(present_form(form.model_dump()), version=form.version)


@router.get(
    "/policies",
    summary="List match policies",
    response_model=PolicyPage,
    openapi_extra=allow("policy.read", READ),
)
async def list_policies(
    *,
    request: Request,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[PoliciesQuery, Query()],
) -> Response:
    """Return the match policies of the program that `program_id` names, oldest first.

    Policies belong to a program, so without `program_id` the answer is 400.
    """
    return await _parts(
        request, actor, reader, query, query.program_id, MatchPolicy, present_policy
    )


@router.post(
    "/policies",
    summary="Add a match policy",
    status_code=201,
    response_model=PolicyView,
    openapi_extra=allow("policy.change", WRITE),
)
async def create_policy(
    *, actor: ActorDep, session: SessionDep, now: NowDep, body: PolicyCreate
) -> Response:
    """Say how a program's matching weighs, and what it forbids."""
    policy = await operations.add_policy(
        session,
        actor=actor,
        program_id=body.program_id,
        values=body.model_dump(exclude={"id", "program_id"}),
        policy_id=body.id,
        now=now,
    )
    view = present_policy(policy.model_dump())
    return responses.created(view, version=policy.version, location=f"/v1/policies/{view['id']}")


@router.get(
    "/policies/{policy_id}",
    summary="Read a match policy",
    response_model=PolicyView,
    openapi_extra=allow("policy.read", READ),
)
async def get_policy(*, policy_id: PolicyId, actor: ActorDep, reader: ReaderDep) -> Response:
    """Return a match policy with its rules and weights."""
    row = await queries.get_part(reader, MatchPolicy, actor=actor, part_id=policy_id)
    operations.require_policy_reader(actor, row["program_id"])
    return responses.one(present_policy(row), version=row["version"])


@router.patch(
    "/policies/{policy_id}",
    summary="Change a match policy",
    response_model=PolicyView,
    openapi_extra=allow("policy.change", WRITE),
)
async def change_policy(
    *,
    policy_id: PolicyId,
    actor: ActorDep,
    session: SessionDep,
    now: NowDep,
    body: Annotated[PolicyPatch, Body(media_type=MERGE_PATCH)],
    if_match: IfMatchDep = None,
) -> Response:
    """Change a match policy; once a run has used it, its `name` and `tests` only.

    Those say nothing of how people are matched, so they do not raise `policy_version`.
    """
    policy = await operations.change_policy(
        session,
        actor=actor,
        policy_id=policy_id,
        changes=body.sent(),
        if_match=if_match,
        now=now,
    )
    return responses.one(present_policy(policy.model_dump()), version=policy.version)


@router.get(
    "/programs/{program_id}/agreement-templates",
    summary="List agreement templates",
    response_model=TemplatePage,
    openapi_extra=allow("agreement_template.read", READ),
)
async def list_agreement_templates(
    *,
    request: Request,
    program_id: ProgramId,
    actor: ActorDep,
    reader: ReaderDep,
    query: Annotated[Page, Query()],
) -> Response:
    """Return the templates a program can use: its own, and the organization's."""
    return await _parts(
        request, actor, reader, query, program_id, AgreementTemplate, present_template
    )


@router.get(
    "/agreement-templates/{agreement_template_id}",
    summary="Read an agreement template",
    response_model=TemplateView,
    openapi_extra=allow("agreement_template.read", READ),
)
async def get_agreement_template(
    *, agreement_template_id: TemplateId, actor: ActorDep, reader: ReaderDep
) -> Response:
    """Return what an agreement asks both sides."""
    row = await queries.get_part(
        reader, AgreementTemplate, actor=actor, part_id=agreement_template_id
    )
    return responses.one(present_template(row), version=row["version"])
