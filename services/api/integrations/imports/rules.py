"""States of a sync run, and its plan: what each row will do, decided before anything is done."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from uuid import UUID

from services.api.integrations.connections.rules import OnMissing, is_mass_change
from services.api.integrations.files.rules import Problem
from services.api.integrations.mappings.rules import (
    REQUIRED,
    Leavers,
    ManagerBy,
    manager_names,
    names_of,
)
from shared.errors import ConflictError

CHUNK = 50
"""Rows per transaction: so few that their locks never keep a person waiting for a second."""
MOST_FAILED_PERCENT = 50


class SyncMode(StrEnum):
    """Whether a file holds everybody, or only who changed."""

    FULL = "full"
    DELTA = "delta"


class RunStatus(StrEnum):
    """Where a sync run stands."""

    QUEUED = "queued"
    VALIDATING = "validating"
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    APPLYING = "applying"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunAction(StrEnum):
    """What can happen to a sync run."""

    VALIDATE = "validate"
    PLAN = "plan"
    HOLD = "hold"
    APPLY = "apply"
    APPROVE = "approve"
    SUCCEED = "succeed"
    FINISH_PARTLY = "finish_partly"
    FAIL = "fail"
    CANCEL = "cancel"


_S, _A = RunStatus, RunAction

TRANSITIONS: Mapping[tuple[RunStatus, RunAction], RunStatus] = MappingProxyType(
    {
        (_S.QUEUED, _A.VALIDATE): _S.VALIDATING,
        (_S.VALIDATING, _A.PLAN): _S.PLANNED,
        (_S.PLANNED, _A.HOLD): _S.AWAITING_APPROVAL,
        (_S.PLANNED, _A.APPLY): _S.APPLYING,
        (_S.AWAITING_APPROVAL, _A.APPROVE): _S.APPLYING,
        (_S.APPLYING, _A.SUCCEED): _S.SUCCEEDED,
        (_S.APPLYING, _A.FINISH_PARTLY): _S.PARTIAL,
        (_S.QUEUED, _A.FAIL): _S.FAILED,
        (_S.VALIDATING, _A.FAIL): _S.FAILED,
        (_S.PLANNED, _A.FAIL): _S.FAILED,
        (_S.APPLYING, _A.FAIL): _S.FAILED,
        (_S.QUEUED, _A.CANCEL): _S.CANCELLED,
        (_S.VALIDATING, _A.CANCEL): _S.CANCELLED,
        (_S.PLANNED, _A.CANCEL): _S.CANCELLED,
        (_S.AWAITING_APPROVAL, _A.CANCEL): _S.CANCELLED,
    }
)

WORKED_ON = (RunStatus.QUEUED, RunStatus.VALIDATING, RunStatus.PLANNED, RunStatus.APPLYING)
"""States in which the worker has something to do."""

FINAL = (RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.CANCELLED)

# The states whose arrival is a fact for others; queued and validating are nobody's news.
EVENT_OF: Mapping[RunStatus, str] = MappingProxyType(
    {
        status: f"sync_run.{status.value}"
        for status in (
            *(_S.PLANNED, _S.AWAITING_APPROVAL, _S.SUCCEEDED, _S.PARTIAL, _S.FAILED),
            _S.CANCELLED,
        )
    }
)


def allowed_actions(status: RunStatus) -> list[RunAction]:
    """Return what can happen next."""
    return [action for (state, action) in TRANSITIONS if state is status]


def next_status(status: RunStatus, action: RunAction) -> RunStatus:
    """Return the state after the action; an illegal one is a `ConflictError`."""
    try:
        return TRANSITIONS[status, action]
    except KeyError:
        raise ConflictError(
            f"A sync run that is {status} cannot {action}.",
            code="invalid_transition",
            allowed=allowed_actions(status),
        ) from None


class RowAction(StrEnum):
    """What a row of the plan does."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    DEACTIVATE = "deactivate"
    REACTIVATE = "reactivate"
    SKIP = "skip"
    REFUSE = "refuse"


class RowOutcome(StrEnum):
    """Where a row stands: each guards itself, so that none is applied twice."""

    PLANNED = "planned"
    APPLIED = "applied"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


WRITING = frozenset(
    {RowAction.CREATE, RowAction.UPDATE, RowAction.DEACTIVATE, RowAction.REACTIVATE}
)
OUTCOME_OF: Mapping[RowAction, RowOutcome] = MappingProxyType(
    {
        **dict.fromkeys(WRITING, RowOutcome.PLANNED),
        RowAction.UNCHANGED: RowOutcome.UNCHANGED,
        RowAction.SKIP: RowOutcome.SKIPPED,
        RowAction.REFUSE: RowOutcome.FAILED,
    }
)
COUNTED_AS: Mapping[RowAction, str] = MappingProxyType(
    {
        RowAction.CREATE: "created",
        RowAction.UPDATE: "updated",
        RowAction.UNCHANGED: "unchanged",
        RowAction.DEACTIVATE: "deactivated",
        RowAction.REACTIVATE: "reactivated",
        RowAction.SKIP: "skipped",
        RowAction.REFUSE: "failed",
    }
)
COUNTS = ("seen", *sorted({*COUNTED_AS.values(), "linked"}))


class Hold(StrEnum):
    """Why a plan waits for somebody to approve it."""

    DRY_RUN = "dry_run"
    THRESHOLD = "threshold"
    EMPTY_FILE = "empty_file"
    UNREADABLE_ROWS = "unreadable_rows"


class EndedReason(StrEnum):
    """Why a source ended somebody."""

    SOURCE_TERMINATED = "source_terminated"
    SOURCE_MISSING = "source_missing"


@dataclass(frozen=True, slots=True)
class Known:
    """A person as they are, seen by a plan; `external_id` is what this connection calls them."""

    person_id: UUID
    external_id: str | None
    version: int
    is_active: bool
    values: Mapping[str, Any]
    updated_at: datetime
    ended_on: date | None = None

    @property
    def email(self) -> str:
        """Return the address as it is compared."""
        return str(self.values["email"]).casefold()


@dataclass(frozen=True, slots=True)
class Input:
    """One row of a file under the rules of the directory, or what is wrong with it."""

    line: int
    external_id: str | None
    values: Mapping[str, Any] = field(default_factory=dict)
    manager: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """What was asked of a run."""

    mode: SyncMode
    on_missing: OnMissing
    as_of: datetime
    leavers: Leavers
    manager_by: ManagerBy | None
    manager_column: str | None
    status_is_mapped: bool
    guard_people: int
    guard_percent: int
    is_dry_run: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the plan: what it does, to whom, and from which version."""

    number: int
    line: int | None
    external_id: str | None
    action: RowAction
    person_id: UUID | None = None
    version_seen: int | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    stands: bool | None = None
    ended_on: date | None = None
    ended_reason: EndedReason | None = None
    old: Mapping[str, Any] = field(default_factory=dict)
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    rank: int = 0

    @property
    def writes(self) -> bool:
        """Tell whether applying the row changes a person."""
        return self.action in WRITING


@dataclass(frozen=True, slots=True)
class Plan:
    """Every row, how managers fared, and why the plan waits, if it does."""

    rows: tuple[Row, ...]
    managers: Mapping[str, int]
    holds: tuple[Hold, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Return what the plan would do, by the names a run reports."""
        return count(
            (row.action, OUTCOME_OF[row.action], row.line is not None, 1) for row in self.rows
        )

    @property
    def fails(self) -> bool:
        """Tell whether more rows are bad than a file may have."""
        counts = self.counts
        return counts["failed"] * 100 > counts["seen"] * MOST_FAILED_PERCENT


def count(groups: Iterable[tuple[RowAction, RowOutcome, bool, int]]) -> dict[str, int]:
    """Return a run's counts; rows still planned count as what they will do."""
    counts = dict.fromkeys(COUNTS, 0)
    for action, outcome, is_of_the_file, number in groups:
        name = "failed" if outcome is RowOutcome.FAILED else COUNTED_AS[action]
        counts[name] += number
        counts["seen"] += number if is_of_the_file else 0
    return counts


def plan(
    inputs: Sequence[Input],
    people: Sequence[Known],
    terms: Terms,
    *,
    new_id: Callable[[], UUID],
) -> Plan:
    """Decide what every row does; the order of rows decides nothing.

    `people` is everybody in the directory: who is linked, who bears an address, who leads whom.
    """
    linked = {one.external_id: one for one in people if one.external_id is not None}
    rows = [_first(one, linked, terms, new_id) for one in _refuse_doubles(inputs)]
    rows = _refuse_taken(rows, people)
    named = {one.line: one.manager for one in inputs}
    rows, managers = _resolve_managers(rows, named, people, terms)
    missing = _missing(inputs, rows, linked, terms)
    ordered = _ranked([*rows, *missing], people)
    return Plan(tuple(ordered), managers, tuple(_holds(inputs, ordered, linked, terms)))


def _refuse_doubles(inputs: Sequence[Input]) -> list[Input]:
    """Refuse every row of an id that stands on several lines: none of them is the right one."""
    lines: defaultdict[str, list[int]] = defaultdict(list)
    for one in inputs:
        if one.external_id is not None:
            lines[one.external_id].append(one.line)
    return [
        replace(one, problems=(*one.problems, _doubled(lines[one.external_id])))
        if one.external_id is not None and len(lines[one.external_id]) > 1
        else one
        for one in inputs
    ]


def _doubled(lines: Sequence[int]) -> Problem:
    named = ", ".join(str(line) for line in sorted(lines)[:10])
    return Problem(
        None, "duplicate_id", f"Several rows have this id: lines {named}.", "Keep one of them."
    )


def _first(
    one: Input, linked: Mapping[str, Known], terms: Terms, new_id: Callable[[], UUID]
) -> Row:
    """Decide a row by itself: its manager comes in a second pass."""
    row = Row(one.line, one.line, one.external_id, RowAction.REFUSE, errors=one.problems)
    if one.problems or one.external_id is None:
        return row
    known = linked.get(one.external_id)
    values = {
        name: value for name, value in one.values.items() if name not in {"status", "ended_on"}
    }
    row = replace(
        row,
        values=values,
        stands=_stands(one, terms),
        ended_on=one.values.get("ended_on"),
    )
    if known is None:
        return _new(row, one, terms, new_id)
    return _changed(row, known, terms)


def _stands(one: Input, terms: Terms) -> bool | None:
    """Return whether the source says that the person is here; None when it says nothing."""
    status = one.values.get("status")
    if status is not None:
        return bool(status == "active")
    # Where a file has no status, standing in it is being here.
    return None if terms.status_is_mapped else True


def _new(row: Row, one: Input, terms: Terms, new_id: Callable[[], UUID]) -> Row:
    lacking = [name for name in REQUIRED if not row.values.get(name)]
    if lacking:
        return _refused(row, *(_lacks(name, one.columns.get(name)) for name in lacking))
    row = replace(row, person_id=new_id(), stands=row.stands is not False)
    if row.stands:
        return replace(row, action=RowAction.CREATE)
    if terms.leavers is Leavers.SKIP:
        return _skipped(row, Problem(None, "left_before", "The person had left already."))
    return replace(
        row,
        action=RowAction.CREATE,
        ended_on=row.ended_on or terms.as_of.date(),
        ended_reason=EndedReason.SOURCE_TERMINATED,
    )


def _lacks(name: str, column: str | None) -> Problem:
    return Problem(
        column, "missing_value", f"A new person needs a value for {name.replace('_', ' ')}."
    )


def _changed(row: Row, known: Known, terms: Terms) -> Row:
    row = replace(row, person_id=known.person_id, version_seen=known.version)
    if row.stands and not known.is_active and _is_older(known, terms):
        return _skipped(
            row,
            Problem(
                None, "older_than_end", "The file is older than the day on which the person left."
            ),
        )
    values = {name: value for name, value in row.values.items() if known.values[name] != value}
    row = replace(row, values=values, old={name: known.values[name] for name in values})
    if row.stands is False and known.is_active:
        return replace(
            row,
            action=RowAction.DEACTIVATE,
            ended_on=row.ended_on or terms.as_of.date(),
            ended_reason=EndedReason.SOURCE_TERMINATED,
        )
    if row.stands and not known.is_active:
        return replace(row, action=RowAction.REACTIVATE, ended_on=None)
    return replace(
        row, action=RowAction.UPDATE if values else RowAction.UNCHANGED, stands=None, ended_on=None
    )


def _is_older(known: Known, terms: Terms) -> bool:
    """Tell whether the source speaks of a time before the person left."""
    ended_on = known.ended_on or date.min
    return terms.as_of < known.updated_at or terms.as_of.date() < ended_on


def _refused(row: Row, *problems: Problem) -> Row:
    return replace(
        row,
        action=RowAction.REFUSE,
        errors=(*row.errors, *problems),
        values={},
        old={},
        stands=None,
    )


def _skipped(row: Row, problem: Problem) -> Row:
    return replace(
        row, action=RowAction.SKIP, errors=(problem,), values={}, old={}, stands=None, ended_on=None
    )


def _refuse_taken(rows: list[Row], people: Sequence[Known]) -> list[Row]:
    """Keep addresses unique among those who are here, and never merge people by a hint."""
    holders = {one.email: one.person_id for one in people if one.is_active}
    numbers = {
        one.values["employee_number"]: one.person_id
        for one in people
        if one.values.get("employee_number")
    }
    current = {one.person_id: one for one in people}
    wished = Counter(email for row in rows if (email := _claims(row, current)))
    return [_unless_taken(row, current, holders, numbers, wished) for row in rows]


def _claims(row: Row, current: Mapping[UUID, Known]) -> str | None:
    """Return the address a row takes that its person does not hold by now."""
    known = current.get(row.person_id) if row.person_id else None
    if row.action is RowAction.REACTIVATE and known is not None:
        return str(row.values.get("email", known.email)).casefold()
    if row.action is RowAction.CREATE or (row.writes and "email" in row.values):
        return str(row.values["email"]).casefold()
    return None


def _unless_taken(
    row: Row,
    current: Mapping[UUID, Known],
    holders: Mapping[str, UUID],
    numbers: Mapping[str, UUID],
    wished: Mapping[str, int],
) -> Row:
    email = _claims(row, current)
    if email is None:
        return row
    is_new = row.action is RowAction.CREATE
    holder = holders.get(email, row.person_id)
    if is_new and (holder != row.person_id or row.values.get("employee_number") in numbers):
        return _skipped(row, _possible_duplicate())
    if wished[email] > 1 or holder != row.person_id:
        return _refused(
            row, Problem(None, "duplicate_email", "Somebody else has this address already.")
        )
    return row


def _possible_duplicate() -> Problem:
    return Problem(
        None,
        "possible_duplicate",
        "Somebody with this address or employee number is known, but not from this connection.",
        "Nobody is merged by a hint. Add this connection's id to that person.",
    )


def _resolve_managers(
    rows: list[Row],
    named: Mapping[int, str | None],
    people: Sequence[Known],
    terms: Terms,
) -> tuple[list[Row], dict[str, int]]:
    """Find everybody's manager among the people as they will be; then break no circle open."""
    fared = dict.fromkeys(("named", "resolved", "unknown", "ambiguous", "circular"), 0)
    if terms.manager_by is None:
        return rows, fared
    index = _index(rows, people, terms.manager_by)
    current = {one.person_id: one.values.get("manager_id") for one in people}
    resolved = [_with_manager(row, named, index, current, terms, fared) for row in rows]
    return _without_circles(resolved, current, terms, fared), fared


type Index = Mapping[str, Mapping[UUID, bool]]
"""For each name or id: who bears it, and whether they are here."""


def _index(rows: Sequence[Row], people: Sequence[Known], by: ManagerBy) -> Index:
    index: defaultdict[str, dict[UUID, bool]] = defaultdict(dict)
    changes = {row.person_id: row for row in rows if row.person_id and row.writes}
    known = {one.person_id: one for one in people}
    for person_id in {*known, *changes}:
        one, row = known.get(person_id), changes.get(person_id)
        values = {**(one.values if one else {}), **(row.values if row else {})}
        is_active = row.stands if row and row.stands is not None else bool(one and one.is_active)
        external_id = row.external_id if row else one and one.external_id
        names = (
            names_of(str(values["given_name"]), str(values["family_name"]))
            if by is ManagerBy.NAME
            else {external_id} - {None}
        )
        for name in names:
            index[str(name)][person_id] = is_active
    return index


def _with_manager(  # noqa: PLR0917 - one row and all it is compared with
    row: Row,
    named: Mapping[int, str | None],
    index: Index,
    current: Mapping[UUID, UUID | None],
    terms: Terms,
    fared: dict[str, int],
) -> Row:
    name = named.get(row.number)
    if name is None or row.action in {RowAction.REFUSE, RowAction.SKIP} or row.person_id is None:
        return row
    fared["named"] += 1
    bearers = index.get(manager_names(name) if terms.manager_by is ManagerBy.NAME else name, {})
    here = [person_id for person_id, is_active in bearers.items() if is_active]
    candidates = here if len(here) == 1 else list(bearers)
    if len(candidates) != 1:
        outcome = "ambiguous" if candidates else "unknown"
        fared[outcome] += 1
        return _warned(row, f"{outcome}_manager", terms)
    fared["resolved"] += 1
    before = current.get(row.person_id)
    if candidates[0] == before:
        return row
    action = RowAction.UPDATE if row.action is RowAction.UNCHANGED else row.action
    old = {} if row.version_seen is None else {**row.old, "manager_id": before}
    values = {**row.values, "manager_id": candidates[0]}
    return replace(row, action=action, values=values, old=old)


_WARNINGS: Mapping[str, str] = MappingProxyType(
    {
        "unknown_manager": "Nobody of this name or id is known; the manager stays as it is.",
        "ambiguous_manager": "Several people bear this name; the manager stays as it is.",
        "manager_cycle": "The reporting line would end in itself; the manager stays as it is.",
    }
)


def _warned(row: Row, code: str, terms: Terms) -> Row:
    warning = Problem(terms.manager_column, code, _WARNINGS[code])
    return replace(row, warnings=(*row.warnings, warning))


def _without_circles(
    rows: list[Row],
    current: Mapping[UUID, UUID | None],
    terms: Terms,
    fared: dict[str, int],
) -> list[Row]:
    """Take back every planned manager on a circle, until the lines all end somewhere."""
    while True:
        lines = dict(current)
        lines.update(
            {row.person_id: _manager(row) for row in rows if row.person_id and _manager(row)}
        )
        circular = _on_circles(lines)
        taken_back = [row for row in rows if _manager(row) and row.person_id in circular]
        if not taken_back:
            return rows
        fared["circular"] += len(taken_back)
        fared["resolved"] -= len(taken_back)
        numbers = {row.number for row in taken_back}
        rows = [
            _warned(_without_manager(row), "manager_cycle", terms) if row.number in numbers else row
            for row in rows
        ]


def _manager(row: Row) -> UUID | None:
    manager_id: UUID | None = row.values.get("manager_id")
    return manager_id


def _without_manager(row: Row) -> Row:
    values = {name: value for name, value in row.values.items() if name != "manager_id"}
    old = {name: value for name, value in row.old.items() if name != "manager_id"}
    is_idle = row.action is RowAction.UPDATE and not values
    return replace(
        row, action=RowAction.UNCHANGED if is_idle else row.action, values=values, old=old
    )


def _on_circles(lines: Mapping[UUID, UUID | None]) -> set[UUID]:
    """Return everybody whose reporting line comes back to themselves."""
    settled: set[UUID] = set()
    circular: set[UUID] = set()
    for start in lines:
        path: dict[UUID, int] = {}
        person: UUID | None = start
        while person is not None and person not in settled and person not in path:
            path[person] = len(path)
            person = lines.get(person)
        if person is not None and person in path:
            circular.update(one for one, place in path.items() if place >= path[person])
        settled.update(path)
    return circular


def _missing(
    inputs: Sequence[Input],
    rows: Sequence[Row],
    linked: Mapping[str, Known],
    terms: Terms,
) -> list[Row]:
    """Let those leave whom a full file no longer names; a row that was refused still names them."""
    if terms.mode is not SyncMode.FULL or terms.on_missing is not OnMissing.DEACTIVATE:
        return []
    present = {one.external_id for one in inputs}
    gone = sorted(
        (one for one in linked.values() if one.is_active and one.external_id not in present),
        key=lambda one: str(one.external_id),
    )
    last = max((row.number for row in rows), default=1)
    return [
        Row(
            last + place,
            None,
            one.external_id,
            RowAction.DEACTIVATE,
            person_id=one.person_id,
            version_seen=one.version,
            stands=False,
            ended_on=terms.as_of.date(),
            ended_reason=EndedReason.SOURCE_MISSING,
        )
        for place, one in enumerate(gone, start=1)
    ]


def _ranked(rows: Sequence[Row], people: Sequence[Known]) -> list[Row]:
    """Put managers before those they lead, so that applying never meets a circle halfway."""
    lines = {one.person_id: one.values.get("manager_id") for one in people}
    lines.update({row.person_id: _manager(row) for row in rows if row.person_id and _manager(row)})
    depths: dict[UUID, int] = {}
    return [
        replace(row, rank=_depth(row.person_id, lines, depths)) if row.person_id else row
        for row in rows
    ]


def _depth(person_id: UUID, lines: Mapping[UUID, UUID | None], depths: dict[UUID, int]) -> int:
    path: list[UUID] = []
    person: UUID | None = person_id
    while person is not None and person not in depths and person not in path:
        path.append(person)
        person = lines.get(person)
    depth = depths.get(person, -1) if person is not None else -1
    for one in reversed(path):
        depth += 1
        depths[one] = depth
    return depths[person_id]


def _holds(
    inputs: Sequence[Input],
    rows: Sequence[Row],
    linked: Mapping[str, Known],
    terms: Terms,
) -> Iterable[Hold]:
    if terms.is_dry_run:
        yield Hold.DRY_RUN
    if terms.mode is SyncMode.FULL and not inputs:
        yield Hold.EMPTY_FILE
    leavers = sum(row.action is RowAction.DEACTIVATE for row in rows)
    active = sum(one.is_active for one in linked.values())
    if is_mass_change(
        leavers=leavers, active=active, people=terms.guard_people, percent=terms.guard_percent
    ):
        yield Hold.THRESHOLD
    # A row without a readable id may well be somebody who now seems to be missing.
    if any(row.line is None for row in rows) and any(one.external_id is None for one in inputs):
        yield Hold.UNREADABLE_ROWS


def diff(row: Row) -> list[dict[str, Any]]:
    """Return what a row changes, field by field."""
    changes = [
        {"field": name, "old": row.old.get(name), "new": value}
        for name, value in sorted(row.values.items())
    ]
    if row.action in {RowAction.DEACTIVATE, RowAction.REACTIVATE}:
        before, after = "active", "inactive"
        if row.action is RowAction.REACTIVATE:
            before, after = after, before
        changes.append({"field": "status", "old": before, "new": after})
    elif row.action is RowAction.CREATE and row.stands is False:
        changes.append({"field": "status", "old": None, "new": "inactive"})
    if row.writes and row.stands is False:
        changes.append({"field": "ended_on", "old": None, "new": row.ended_on})
    return changes


def plan_stale(people: int) -> ConflictError:
    """Refuse to apply a plan made from what is no longer so."""
    return ConflictError(
        f"{people} of the people in this plan changed since it was made.",
        code="plan_stale",
        allowed=["replan", "cancel"],
    )
