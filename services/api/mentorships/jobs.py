"""What happens to mentorships without anybody asking: time passes, people and programs go."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.mentorships import operations, queries, rules
from services.api.mentorships.rules import ClosingReason, MentorshipAction, MentorshipStatus
from services.api.mentorships.tables import Mentorship, MentorshipMember
from services.api.people import queries as people
from services.api.programs import queries as programs
from services.api.programs.operations import midnight
from services.api.timers import operations as timers

type Members = list[MentorshipMember]
type Step = Callable[[AsyncSession, Mentorship, Members, datetime], Awaitable[None]]

_S = MentorshipStatus


async def on_timer(
    session: AsyncSession, *, organization_id: UUID, kind: str, subject_id: UUID, now: datetime
) -> None:
    """Do what time has come for, unless somebody was faster."""
    mentorship, members = await operations.lock(
        session, organization_id=organization_id, mentorship_id=subject_id
    )
    step, states = STEP_OF_TIMER[kind]
    if mentorship.status in states:
        await step(session, mentorship, members, now)


async def _nudge(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    await operations.record(
        session, "mentorship.first_meeting_overdue", mentorship, members, actor_id=None, now=now
    )


async def _nudge_again(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    await operations.record(
        session,
        "mentorship.first_meeting_overdue",
        mentorship,
        members,
        actor_id=None,
        now=now,
        recipients={"coordinators": await operations.coordinators(session, mentorship)},
    )


async def _end(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    await operations.end(
        session, mentorship=mentorship, members=members, reason=ClosingReason.OTHER, now=now
    )


async def _close_at_end(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    await _close(session, mentorship, members, ClosingReason.COMPLETED, now)


async def _close_idle(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    await _close(session, mentorship, members, ClosingReason.IDLE, now)


async def _close(
    session: AsyncSession,
    mentorship: Mentorship,
    members: Members,
    reason: ClosingReason,
    now: datetime,
) -> None:
    await operations.close(
        session, mentorship=mentorship, members=members, reason=reason, actor_id=None, now=now
    )


async def _complete(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    await operations.advance(
        session,
        mentorship=mentorship,
        members=members,
        action=MentorshipAction.COMPLETE,
        actor_id=None,
        now=now,
    )


async def _end_pause(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    """Go on when everybody is back; otherwise the pause waits for an answer, then lapses."""
    present = {person_id for _role, person_id in queries.roles_of(members)}
    if await queries.are_all_here(
        session, organization_id=mentorship.organization_id, person_ids=present
    ):
        await operations.advance(
            session,
            mentorship=mentorship,
            members=members,
            action=MentorshipAction.RESUME,
            actor_id=None,
            now=now,
        )
        return
    await timers.schedule(
        session,
        organization_id=mentorship.organization_id,
        kind="mentorship.pause_lapse",
        subject_id=mentorship.id,
        due_at=now + rules.PAUSE_LAPSES,
    )


async def _close_unfilled(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    track, _program = await operations.setting(session, mentorship)
    found = rules.gaps(mentorship.format, queries.roles_of(members), min_members=track.min_members)
    if found.below_minimum or found.needs_mentor:
        await _call_off(session, mentorship, members, now)


async def _call_off(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    await operations.call_off(session, mentorship=mentorship, members=members, now=now)


_PENDING = frozenset({_S.PENDING_START})
STEP_OF_TIMER: Mapping[str, tuple[Step, frozenset[MentorshipStatus]]] = {
    "mentorship.nudge": (_nudge, _PENDING),
    "mentorship.second_nudge": (_nudge_again, _PENDING),
    "mentorship.cancel": (_end, _PENDING),
    "mentorship.begin_closing": (_close_at_end, frozenset({_S.ACTIVE})),
    "mentorship.complete": (_complete, frozenset({_S.CLOSING})),
    "mentorship.pause_end": (_end_pause, frozenset({_S.PAUSED})),
    "mentorship.pause_lapse": (_close_idle, frozenset({_S.PAUSED})),
    "mentorship.refill": (_close_unfilled, frozenset({_S.PENDING_START, *rules.RUNS_OR_RESTS})),
}
"""What each kind of timer does, and in which states it still matters."""


async def on_manager_changed(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Tell coordinators of mentorships that now lie within a reporting line; none ends for it."""
    moved = await people.people_below(
        session, organization_id=organization_id, person_id=subject_id
    )
    for mentorship_id in await queries.live_ids_of_people(
        session, organization_id=organization_id, person_ids=moved
    ):
        mentorship, members = await operations.lock(
            session, organization_id=organization_id, mentorship_id=mentorship_id
        )
        present = {person_id for _role, person_id in queries.roles_of(members)}
        if await people.reporting_lines(
            session, organization_id=organization_id, person_ids=sorted(present)
        ):
            await operations.record(
                session,
                "mentorship.reporting_line_found",
                mentorship,
                members,
                actor_id=None,
                now=now,
            )


async def on_program_cancelled(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Let every mentorship of a program that was called off close, or not begin at all."""
    await _each(session, organization_id, subject_id, _call_off, now)


async def on_program_completed(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Complete whatever still runs in a program that is over."""
    await _each(session, organization_id, subject_id, _bring_to_end, now)


async def _bring_to_end(
    session: AsyncSession, mentorship: Mentorship, members: Members, now: datetime
) -> None:
    if mentorship.status in rules.RUNS_OR_RESTS:
        await _close(session, mentorship, members, ClosingReason.COMPLETED, now)
    if mentorship.status is _S.CLOSING:
        await _complete(session, mentorship, members, now)
    elif mentorship.status is _S.PENDING_START:
        await _end(session, mentorship, members, now)


async def on_program_winding_down(
    session: AsyncSession, *, organization_id: UUID, subject_id: UUID, now: datetime
) -> None:
    """Let no mentorship outlast its program; without any, the program is complete at once."""
    await _each(session, organization_id, subject_id, _cap, now)
    await operations.complete_program(
        session, organization_id=organization_id, program_id=subject_id, now=now
    )


async def _cap(
    session: AsyncSession, mentorship: Mentorship, _members: Members, now: datetime
) -> None:
    program = await programs.find(
        session,
        organization_id=mentorship.organization_id,
        program_id=mentorship.program_id,
    )
    last = program.ends_on if program else None
    if last is None or mentorship.ends_on is None or mentorship.ends_on <= last:
        return
    mentorship.ends_on = last
    mentorship.touch(now)
    if mentorship.status is _S.ACTIVE:
        await timers.schedule(
            session,
            organization_id=mentorship.organization_id,
            kind="mentorship.begin_closing",
            subject_id=mentorship.id,
            due_at=midnight(last - rules.CLOSING_LEAD),
        )


async def _each(
    session: AsyncSession, organization_id: UUID, program_id: UUID, step: Step, now: datetime
) -> None:
    for mentorship_id in await queries.live_ids_of_program(
        session, organization_id=organization_id, program_id=program_id
    ):
        mentorship, members = await operations.lock(
            session, organization_id=organization_id, mentorship_id=mentorship_id
        )
        await step(session, mentorship, members, now)
