"""Hot reads: SQLAlchemy Core composes the statement once, asyncpg runs it ever after.

A read transaction is READ ONLY and knows its tenant, as a writing one does.
"""

from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Insert, Select, bindparam, tuple_
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.ext.asyncio import AsyncSession

from shared.persistence.engine import POOL_WAIT_SECONDS
from shared.persistence.sessions import driver
from shared.persistence.tenancy import SET_TENANT, Tenant

type AnySelect = Select[*tuple[Any, ...]]

_DIALECT = asyncpg_dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as text with numbered parameters, and the names those stand for."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]


def compiled(statement: AnySelect | Insert, *, columns: Sequence[str] | None = None) -> Statement:
    """Compile a SELECT whose changing values are `bindparam`s, or an INSERT of these columns.

    Lists are compared with `= ANY(:names)`: an expanding IN would need compiling for each length.
    """
    result = statement.compile(dialect=_DIALECT, column_keys=columns)
    if result.positiontup is None:
        raise TypeError("the dialect does not number its parameters")
    if "POSTCOMPILE" in str(result):
        raise TypeError("compare with = ANY(:values): an IN is compiled anew for each length")
    constants = {name: value for name, value in result.params.items() if value is not None}
    return Statement(str(result), tuple(result.positiontup), constants)


def once[**P](build: Callable[P, AnySelect]) -> Callable[P, Statement]:
    """Compile one statement per shape: the arguments name the shape and must be hashable."""

    @cache
    def compile_shape(*arguments: Hashable, **options: Hashable) -> Statement:
        return compiled(build(*arguments, **options))  # type: ignore[arg-type]  # P is hashable here

    @wraps(build)
    def statement(*args: P.args, **kwargs: P.kwargs) -> Statement:
        return compile_shape(*args, **kwargs)  # type: ignore[arg-type]  # as above

    return statement


def keyset(select: AnySelect, order: Sequence[ColumnElement[Any]], *, is_first: bool) -> AnySelect:
    """Return the page of a list after one place: values `after_0`, `after_1`, ... of the order.

    Keysets stay right while rows come and go, and cost the same on every page.
    """
    if not is_first:
        place = [bindparam(f"after_{index}", type_=one.type) for index, one in enumerate(order)]
        select = select.where(tuple_(*order) > tuple_(*place))
    return select.order_by(*order).limit(bindparam("limit"))


def place_of(after: Sequence[object] | None) -> dict[str, object]:
    """Return the values of a keyset's place by the names `keyset` gave them."""
    return {f"after_{index}": value for index, value in enumerate(after or ())}


class Reader(Protocol):
    """Whatever can run a compiled read: a read transaction, or a writing session."""

    async def fetch(self, statement: Statement, /, **values: object) -> list[Mapping[str, Any]]:
        """Return all rows."""
        ...

    async def fetch_one(
        self, statement: Statement, /, **values: object
    ) -> Mapping[str, Any] | None:
        """Return the first row, or None."""
        ...


class ReadTransaction:
    """One READ ONLY transaction on the read pool."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        """Take the asyncpg connection whose transaction is open."""
        self._connection = connection

    async def fetch(self, statement: Statement, /, **values: object) -> list[Mapping[str, Any]]:
        """Return all rows."""
        rows: list[Mapping[str, Any]] = await self._connection.fetch(
            statement.text, *_arguments(statement, values)
        )
        return rows

    async def fetch_one(
        self, statement: Statement, /, **values: object
    ) -> Mapping[str, Any] | None:
        """Return the first row, or None."""
        row: Mapping[str, Any] | None = await self._connection.fetchrow(
            statement.text, *_arguments(statement, values)
        )
        return row


def _arguments(statement: Statement, values: Mapping[str, object]) -> list[object]:
    constants = statement.constants
    return [values[name] if name in values else constants[name] for name in statement.names]


class SessionReader:
    """The same reads inside a writing session, where they see what it has changed.

    They run on the driver's connection: compiling, caching and wrapping rows by SQLAlchemy costs
    more than the database does.
    """

    __slots__ = ("_session",)

    def __init__(self, session: AsyncSession) -> None:
        """Take the session whose transaction the reads belong to."""
        self._session = session

    async def fetch(self, statement: Statement, /, **values: object) -> list[Mapping[str, Any]]:
        """Return all rows."""
        return await (await self._flushed()).fetch(statement, **values)

    async def fetch_one(
        self, statement: Statement, /, **values: object
    ) -> Mapping[str, Any] | None:
        """Return the first row, or None."""
        return await (await self._flushed()).fetch_one(statement, **values)

    async def _flushed(self) -> ReadTransaction:
        session = self._session
        if session.new or session.dirty or session.deleted:
            await session.flush()
        return ReadTransaction(driver(session))


@asynccontextmanager
async def read_transaction(pool: Any, tenant: Tenant) -> AsyncIterator[ReadTransaction]:
    """Open a READ ONLY transaction of one organization."""
    # Watching the clock costs more than taking what is there.
    wait = None if pool.get_idle_size() else POOL_WAIT_SECONDS
    async with (
        pool.acquire(timeout=wait) as connection,
        connection.transaction(readonly=True),
    ):
        await connection.fetch(SET_TENANT, *tenant.settings)
        yield ReadTransaction(connection)
