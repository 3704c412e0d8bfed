"""Rows of one organization, written again for another one under other ids."""

import json
import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from fastapi import FastAPI

from services.api.events.rules import bucket_of
from services.api.migrations.tables import METADATA
from shared import ids
from shared.persistence.sessions import driver, transaction
from shared.persistence.tenancy import Tenant

# Whose a row is: the column that says so.
_OWNERS = ("organization_id", "tenant_id")
_TABLES = {name: table for name, table in METADATA.tables.items() if {*_OWNERS} & {*table.c.keys()}}
_EVERYTHING = " UNION ALL ".join(
    f"SELECT '{name}', to_jsonb(t)::text FROM {name} t"  # noqa: S608 - names of our own tables
    f" WHERE {next(owner for owner in _OWNERS if owner in table.c)} = $1"
    for name, table in _TABLES.items()
)
_ID = re.compile(
    "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    rf"|(?<![0-9a-z])(?:{'|'.join(ids.PREFIXES.values())})_{ids.SUFFIX_PATTERN}(?![0-9a-z])"
)
_PASSING = re.compile(rf'{_ID.pattern}|\d{{4}}-\d\d-\d\dT[^"]+|"(?:xid|bucket)": "?\d+')
# An id begins with the time and a counter, which stay, and so does the order of ids; the rest is
# random, and differs in a copy.
_RANDOM_BITS = 32
# Said of the transaction that writes a row, so never copied.
_OF_THE_WRITING = {"xid": "pg_current_xact_id()", "epoch": "current_feed_epoch()"}

type Row = tuple[str, str]
"""A table, and one of its rows as JSON."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows by table, and the tables in which some replace what is there."""

    of_table: Mapping[str, Sequence[str]]
    replacing: frozenset[str]


class Renaming:
    """Other ids for all that one organization holds."""

    def __init__(
        self, known: Mapping[UUID, UUID], words: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Take what is called otherwise already: ids, and words such as a slug."""
        self._known = known
        self._words = words
        self._mask = secrets.randbits(_RANDOM_BITS)

    def of_text(self, text: str) -> str:
        """Return a text with every id in it renamed, as the inside and as the public write it."""
        for word, other in self._words.items():
            text = text.replace(word, other)
        return _ID.sub(self._renamed, text)

    def _renamed(self, found: re.Match[str]) -> str:
        prefix, public, suffix = found[0].rpartition("_")
        if not public:
            return str(self._other(UUID(suffix)))
        return f"{prefix}_{ids.encode(self._other(ids.decode(suffix)))}"

    def _other(self, value: UUID) -> UUID:
        return self._known.get(value) or UUID(int=value.int ^ self._mask)


def built_in_template(organization_id: UUID) -> UUID:
    """Return the id of an organization's own agreement template, which follows from its own."""
    return ids.derived_id("agreement-template", str(organization_id))


async def rows_of(app: FastAPI, organization_id: UUID) -> frozenset[Row]:
    """Return every row of an organization."""
    async with transaction(app.state.resources.sessions, Tenant(organization_id)) as session:
        return frozenset(
            (table, row) for table, row in await driver(session).fetch(_EVERYTHING, organization_id)
        )


def likeness(rows: Iterable[Row]) -> str:
    """Return what rows say beside ids and times: the same for organizations that hold the same."""
    return "\n".join(sorted(f"{table} {_PASSING.sub('', row)}" for table, row in rows))


def since(before: frozenset[Row], after: frozenset[Row]) -> Rows:
    """Return what came between. Rows that went away cannot be copied: that is a `ValueError`."""
    of_table: defaultdict[str, list[str]] = defaultdict(list)
    for table, row in sorted(after - before):
        of_table[table].append(row)
    were, are, came = (set(map(_key, rows)) for rows in (before, after, after - before))
    if not were <= are:
        raise ValueError(f"went away: {were - are}")
    return Rows(of_table, frozenset(table for table, *_ in were & came))


def _key(row: Row) -> tuple[str, ...]:
    table, text = row
    values = json.loads(text)
    return (table, *(str(values[column.name]) for column in _TABLES[table].primary_key))


async def write(app: FastAPI, organization_id: UUID, rows: Rows, renaming: Renaming) -> None:
    """Write rows for another organization, all in one statement."""
    steps = [
        f"w{place} AS ({_insert(table, place, replaces=table in rows.replacing)})"
        for place, table in enumerate(rows.of_table, start=1)
    ]
    values = [
        f"[{','.join(_moved(table, renaming.of_text(row)) for row in texts)}]"
        for table, texts in rows.of_table.items()
    ]
    async with transaction(app.state.resources.sessions, Tenant(organization_id)) as session:
        await driver(session).fetch(f"WITH {', '.join(steps)} SELECT 1", *values)


def _moved(table: str, row: str) -> str:
    if table != "outbox_message":
        return row
    values = json.loads(row)
    return json.dumps(values | {"bucket": bucket_of(UUID(values["aggregate_id"]))})


def _insert(table: str, place: int, *, replaces: bool) -> str:
    names = [column.name for column in _TABLES[table].c]
    chosen = [_OF_THE_WRITING.get(name, name) for name in names]
    keys = [column.name for column in _TABLES[table].primary_key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    conflict = f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}" if replaces else ""
    return (
        f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(chosen)}"  # noqa: S608 - ours
        f" FROM jsonb_populate_recordset(NULL::{table}, ${place}::text::jsonb){conflict}"
    )
