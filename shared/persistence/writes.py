"""Hot writes: what nearly every change sends besides its own rows, compiled once.

The ORM finds out what changed and in which order to send it; for a row that is only ever put
there, finding out costs more than sending.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Table, insert
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from shared.persistence.reads import SessionReader, Statement, compiled


@cache
def _insertion(table: Table, columns: tuple[str, ...]) -> Statement:
    return compiled(insert(table), columns=columns)


@cache
def _documents(table: Table) -> frozenset[str]:
    return frozenset(one.name for one in table.c if isinstance(one.type, JSONB))


async def put(session: AsyncSession, table: Table, row: Mapping[str, Any]) -> None:
    """Insert one row; columns that are not named take the database's defaults."""
    documents = _documents(table)
    values = {
        name: to_json(value).decode() if name in documents else value for name, value in row.items()
    }
    await SessionReader(session).fetch(_insertion(table, tuple(values)), **values)
