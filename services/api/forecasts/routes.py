"""The capacity forecast of a program."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response

from services.api.access import rules as access
from services.api.access.roles import Role
from services.api.access.rules import Actor, Scope
from services.api.clients import matching
from services.api.dependencies import (
    ActorDep,
    NowDep,
    ReadingDep,
    ResourcesDep,
    allow,
    calling_door,
)
from services.api.forecasts import rules
from services.api.forecasts.rules import Method, Supply, Topic
from services.api.forecasts.schemas import (
    ForecastView,
    OptionView,
    TopicView,
    TrackForecastView,
    UnmatchedReasonView,
)
from services.api.participants import queries as participants
from services.api.pools import queries as pools
from services.api.pools import rules as pool_rules
from services.api.pools.rules import PoolOf
from services.api.programs import queries as programs
from services.api.programs.rules import MENTEE_SIDE, MENTOR_SIDE
from services.api.programs.schemas import ProgramId
from services.api.programs.tables import MatchPolicy, Track
from services.api.resources import Resources
from shared import ids
from shared.errors import DomainError
from shared.http import ServiceClient
from shared.persistence.reads import Reader
from shared.schemas.matching import Match, ProgressLine, Solution
from shared.web import responses

calling_router = calling_door("programs")

MOST_TRACKS = 100


@dataclass(slots=True)
class Stock:
    """What is known of one track: its people, and the problem where a policy has rules for them."""

    track: Mapping[str, Any]
    people: Sequence[Mapping[str, Any]]
    supply: Supply
    problem: Mapping[str, Any] | None
    solution: Solution | None = None
    groups: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def method(self) -> Method:
        """Return how unmatched people are counted."""
        return Method.SEATS if self.solution is None else Method.FLOW

    @property
    def unmatched(self) -> int:
        """Return how many who seek somebody would find nobody."""
        if self.solution is None:
            return self.supply.unmatched
        pairs = self.solution.totals.pairs
        return self.supply.mentees - (2 * pairs if self.supply.is_peer else pairs)


@calling_router.get(
    "/programs/{program_id}/capacity-forecast",
    summary="See whether there are places for everybody",
    response_model=ForecastView,
    openapi_extra=allow("program.forecast", Scope.PROGRAMS_READ),
)
async def get_capacity_forecast(
    *,
    program_id: ProgramId,
    actor: ActorDep,
    now: NowDep,
    reading: ReadingDep,
    resources: ResourcesDep,
) -> Response:
    """Count free places against people who seek one, and say what would help.

    Counted are all who handed a registration in and were not turned down. Where a track has a
    policy, matching finds the most pairs its hard rules let be; elsewhere, and where matching
    cannot be asked in time or refuses the policy, places are counted: `method` says which. Options
    are keys with their numbers: `option.groups`, `option.recruit_facilitators`,
    `option.recruit_mentors`, `option.recruit_mentees`, `option.recruit_peers`. Circles are counted
    by who facilitates and by their sizes: mentors are members of them, so `unmatched_expected`
    counts those as well.
    """
    async with reading() as reader:
        await programs.get(reader, actor=actor, program_id=program_id)
        facts = actor.facts(program_id=program_id)
        access.require("program.forecast", facts)
        counts = await participants.count_by_status(
            reader, organization_id=actor.organization_id, program_id=program_id
        )
        stocks = [
            await _stock(reader, actor, resources, track, now=now)
            for track in await programs.list_parts(
                reader,
                Track,
                organization_id=actor.organization_id,
                program_id=program_id,
                after=None,
                limit=MOST_TRACKS,
            )
        ]
    await _count_pairs(stocks, actor, resources)
    topics = rules.topics_of([one for stock in stocks for one in stock.people])
    shown = rules.told(topics, is_small_told=Role.COORDINATOR in facts)
    return responses.one(
        ForecastView(
            program_id=ids.format_id("program", program_id),
            approved=sum(counts.get(one, 0) for one in rules.APPROVED),
            in_review=sum(counts.get(one, 0) for one in rules.IN_REVIEW),
            mentor_seats=sum(stock.supply.mentor_seats for stock in stocks),
            mentees=sum(stock.supply.mentees for stock in stocks),
            unmatched_expected=sum(stock.unmatched for stock in stocks),
            tracks=[_track(stock) for stock in stocks],
            by_topic=[
                TopicView(
                    topic=one.name,
                    wanted=one.wanted,
                    offered_seats=one.offered_seats,
                    short=one.short,
                )
                for one in shown
            ],
            options=[option for stock in stocks for option in _options(stock, shown)],
        )
    )


async def _stock(
    reader: Reader,
    actor: Actor,
    resources: Resources,
    track: Mapping[str, Any],
    *,
    now: datetime,
) -> Stock:
    of = PoolOf(
        actor.organization_id, track["program_id"], track["id"], states=tuple(rules.EXPECTED)
    )
    read = (await pools.read(reader, of=of, secret=resources.cursor_secret))["input"]
    frozen = {**read, "people": [one for one in read["people"] if one["seats"]]}
    supply = rules.supply_of(frozen["people"], frozen["track"])
    problem = None
    has_rules = track["policy_id"] is not None and rules.is_solved(track["format"])
    if has_rules and rules.is_bounded(supply):
        policy = await programs.get_part(
            reader, MatchPolicy, actor=actor, part_id=track["policy_id"]
        )
        problem = rules.counting(
            pool_rules.problem_of(frozen, as_of=now.date(), policy=policy, seed=policy["seed"])
        )
    return Stock(track, frozen["people"], supply, problem)


async def _count_pairs(stocks: Sequence[Stock], actor: Actor, resources: Resources) -> None:
    """Ask matching as long as there is time; what it has not answered is counted by places."""
    if resources.matching is None:
        return
    try:
        async with asyncio.timeout(rules.SECONDS):
            for stock in stocks:
                if stock.problem is not None:
                    await _count_of(stock, stock.problem, actor, resources.matching)
    except (TimeoutError, DomainError):
        # A forecast by places is still one, and says that it is.
        return


async def _count_of(
    stock: Stock, problem: Mapping[str, Any], actor: Actor, client: ServiceClient
) -> None:
    stock.solution = await _solved(problem, actor, client)
    if not stock.unmatched or stock.track["format"] not in rules.GROUPED:
        return
    fewest = stock.supply.groups.fewest if stock.supply.groups else None
    for size in rules.sizes_of(stock.supply):
        if rules.groups_by_seats(stock.supply, size)[1] >= stock.unmatched:
            # Rules let no more be than there are places for.
            continue
        grouped = rules.in_groups(problem, size, fewest=fewest)
        matches = (await _solved(grouped, actor, client)).matches
        groups, held = rules.split(map(_mentees_of, matches), size, fewest=fewest)
        left = stock.supply.mentees - held
        stock.groups[size] = (groups, left)
        if not left:
            return


def _mentees_of(match: Match) -> int:
    return sum(one.role.value in MENTEE_SIDE for one in match.members)


async def _solved(problem: Mapping[str, Any], actor: Actor, client: ServiceClient) -> Solution:
    line = await matching.solve(
        client,
        organization_id=actor.organization_id,
        problem=problem,
        on_progress=_take_no_note,
    )
    return line.solution


async def _take_no_note(_line: ProgressLine) -> None:
    return


def _track(stock: Stock) -> TrackForecastView:
    unmatched = stock.solution.unmatched if stock.solution else []
    reasons = Counter(
        (one.reason.rule, one.reason.key) for one in unmatched if one.role.value not in MENTOR_SIDE
    )
    return TrackForecastView(
        track_id=ids.format_id("track", stock.track["id"]),
        format=stock.track["format"],
        method=stock.method,
        facilitators=stock.supply.facilitators,
        mentors=stock.supply.mentors,
        mentor_seats=stock.supply.mentor_seats,
        mentees=stock.supply.mentees,
        unmatched_expected=stock.unmatched,
        reasons=[
            UnmatchedReasonView(rule=rule, key=key, count=count)
            for (rule, key), count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
        ],
    )


def _options(stock: Stock, topics: Sequence[Topic]) -> list[OptionView]:
    """Return what would help one track: groups of growing size, or more people of a side."""
    supply, unmatched = stock.supply, stock.unmatched
    track_id: UUID = stock.track["id"]
    if supply.is_peer:
        return [_option(track_id, "option.recruit_peers", peers=unmatched)] if unmatched else []
    if not unmatched:
        spare = supply.mentor_seats - supply.mentees
        return [_option(track_id, "option.recruit_mentees", mentees=spare)] if spare > 0 else []
    found = []
    if stock.track["format"] in rules.GROUPED:
        found = [
            _option(
                track_id,
                "option.groups",
                format="group",
                size=one.size,
                mentorships=one.mentorships,
                unmatched=one.unmatched,
                method=one.method.value,
            )
            for one in rules.groupings(supply, unmatched, solved=stock.groups)
        ]
    scarce = [one.name for one in topics if one.short][: rules.TOLD_TOPICS]
    lack = rules.lacking(supply, unmatched)
    if lack.facilitators:
        found.append(
            _option(
                track_id,
                "option.recruit_facilitators",
                facilitators=lack.facilitators,
                circles_each=supply.circles.led_each if supply.circles else 1,
                unmatched=unmatched,
            )
        )
    if lack.mentors:
        found.append(
            _option(
                track_id,
                "option.recruit_mentors",
                mentors=lack.mentors,
                seats_each=supply.seats_each,
                unmatched=unmatched,
                topics=scarce,
            )
        )
    if lack.mentees:
        found.append(_option(track_id, "option.recruit_mentees", mentees=lack.mentees))
    return found


def _option(track_id: UUID, key: str, **params: Any) -> OptionView:
    return OptionView(key=key, params=params, track_id=ids.format_id("track", track_id))
