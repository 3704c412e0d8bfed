"""What the database itself says about the walls between organizations, checked before serving.

Migrations are written by people; the catalogue is what holds. Each check is one query over
`pg_class`, `pg_policy`, `pg_index` and `pg_constraint` that returns what is wrong.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

# Alembic's own; it says which revision the schema has and nothing about anybody.
ALWAYS_REVIEWED = frozenset({"alembic_version"})


class UnsafeDatabaseError(RuntimeError):
    """The role or the schema would let organizations see each other; nothing may be served."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One gap: the object, and what is wrong with it."""

    name: str
    problem: str

    def __str__(self) -> str:
        """Return the gap as a line for whoever has to close it."""
        return f"{self.name}: {self.problem}"


# As PostgreSQL prints the condition that `shared.persistence.policies` writes.
_MINE = "(organization_id = ( SELECT current_organization() AS current_organization))"

_TENANT_TABLES = f"""
WITH tenant AS (
    SELECT c.oid, c.relname, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
           a.attnum, a.attnotnull, a.atttypid
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'organization_id' AND a.attnum > 0
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
),
wall AS (
    SELECT p.polrelid, p.polroles FROM pg_policy p
    WHERE NOT p.polpermissive AND p.polcmd = '*'
      AND pg_get_expr(p.polqual, p.polrelid) = '{_MINE}'
      AND coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '{_MINE}') = '{_MINE}'
)
"""  # noqa: S608 - made of constants only

# A restrictive policy alone grants nothing, a permissive one alone restricts nothing.
_ROWS = f"""
{_TENANT_TABLES}
SELECT relname::text AS name, 'row-level security is off' AS problem
FROM tenant WHERE NOT relrowsecurity
UNION ALL
SELECT relname, 'row-level security is not forced on its owner'
FROM tenant WHERE NOT relforcerowsecurity
UNION ALL
SELECT relname, 'organization_id may be null or is no uuid'
FROM tenant WHERE NOT attnotnull OR atttypid <> 'uuid'::regtype
UNION ALL
SELECT relname, 'no restrictive policy compares organization_id for every command'
FROM tenant WHERE NOT EXISTS (SELECT FROM wall WHERE wall.polrelid = tenant.oid)
UNION ALL
SELECT relname, 'no permissive policy grants anything'
FROM tenant WHERE NOT EXISTS (
    SELECT FROM pg_policy p WHERE p.polrelid = tenant.oid AND p.polpermissive)
UNION ALL
SELECT DISTINCT tenant.relname, 'no restrictive policy holds for ' || r.rolname
FROM tenant
CROSS JOIN LATERAL aclexplode(tenant.relacl) AS granted
JOIN pg_roles r ON r.oid = granted.grantee
WHERE granted.grantee <> tenant.relowner AND NOT r.rolbypassrls AND NOT EXISTS (
    SELECT FROM wall
    WHERE wall.polrelid = tenant.oid
      AND (0 = ANY (wall.polroles) OR granted.grantee = ANY (wall.polroles)))
"""  # noqa: S608 - made of constants only

# An index entry of another organization is an existence oracle unless the organization leads it;
# a foreign key that leaves the organization out accepts another organization's row.
_KEYS = f"""
{_TENANT_TABLES}
SELECT i.indexrelid::regclass::text AS name, 'does not begin with organization_id' AS problem
FROM tenant JOIN pg_index i ON i.indrelid = tenant.oid
WHERE i.indkey[0] <> tenant.attnum
UNION ALL
SELECT tenant.relname, 'has no primary key'
FROM tenant WHERE NOT EXISTS (
    SELECT FROM pg_index i WHERE i.indrelid = tenant.oid AND i.indisprimary)
UNION ALL
SELECT k.conname, 'leaves organization_id out'
FROM tenant
JOIN pg_constraint k ON k.conrelid = tenant.oid AND k.contype = 'f'
JOIN tenant AS target ON target.oid = k.confrelid
WHERE NOT EXISTS (
    SELECT FROM unnest(k.conkey, k.confkey) AS pair (ours, theirs)
    WHERE pair.ours = tenant.attnum AND pair.theirs = target.attnum)
UNION ALL
SELECT k.conname, 'points from a table of the installation into an organization'
FROM pg_constraint k JOIN tenant AS target ON target.oid = k.confrelid
WHERE k.contype = 'f' AND NOT EXISTS (SELECT FROM tenant WHERE tenant.oid = k.conrelid)
UNION ALL
SELECT conname, 'is deferrable'
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND condeferrable
UNION ALL
SELECT conname, 'is an exclusion constraint'
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype = 'x'
"""  # noqa: S608 - made of constants only

_OTHERS = """
SELECT c.relname::text AS name, CASE c.relkind
         WHEN 'v' THEN 'is a view that reads as its owner'
         WHEN 'm' THEN 'is a materialized view: its rows have no policy'
         WHEN 'f' THEN 'is a foreign table: its rows have no policy'
         WHEN 'S' THEN 'is a sequence'
         ELSE 'has no organization_id and was not reviewed'
       END AS problem
FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace
  AND (c.relkind IN ('m', 'f', 'S')
       OR c.relkind = 'v'
          AND NOT coalesce(c.reloptions, '{}') && '{security_invoker=true,security_invoker=on}'
       OR c.relkind IN ('r', 'p') AND c.relname <> ALL ($1::text[]) AND NOT EXISTS (
            SELECT FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname = 'organization_id' AND a.attnum > 0))
UNION ALL
SELECT p.proname, 'is a function that runs as its owner'
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
UNION ALL
SELECT DISTINCT c.relname, 'is granted to everybody'
FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) AS granted
WHERE c.relnamespace = 'public'::regnamespace AND granted.grantee = 0
UNION ALL
SELECT DISTINCT c.relname, 'may be truncated by ' || r.rolname
FROM pg_class c
CROSS JOIN LATERAL aclexplode(c.relacl) AS granted
JOIN pg_roles r ON r.oid = granted.grantee
WHERE c.relnamespace = 'public'::regnamespace
  AND granted.grantee <> c.relowner AND granted.privilege_type = 'TRUNCATE'
"""

# Membership counts like the attribute itself: SET ROLE is one statement away.
_ROLE = """
SELECT current_user::text AS name,
       bool_or(r.rolsuper) AS is_superuser,
       bool_or(r.rolbypassrls) AS is_unbound,
       EXISTS (SELECT FROM pg_class c
               WHERE c.relnamespace = 'public'::regnamespace
                 AND pg_has_role(current_user, c.relowner, 'MEMBER')) AS is_owner
FROM pg_roles r
WHERE pg_has_role(current_user, r.oid, 'MEMBER')
"""


async def role_findings(connection: Any) -> list[Finding]:
    """Return why this connection's role may not serve requests or do work."""
    row = await connection.fetchrow(_ROLE)
    reasons = {
        "is a superuser": row["is_superuser"],
        "bypasses row-level security": row["is_unbound"],
        "owns tables, or may become who does": row["is_owner"],
    }
    return [Finding(row["name"], reason) for reason, holds in reasons.items() if holds]


async def schema_findings(connection: Any, *, reviewed: Collection[str]) -> list[Finding]:
    """Return every gap between organizations; `reviewed` names the tables that belong to none."""
    known = sorted(ALWAYS_REVIEWED.union(reviewed))
    rows = [
        *await connection.fetch(_ROWS),
        *await connection.fetch(_KEYS),
        *await connection.fetch(_OTHERS, known),
    ]
    return sorted((Finding(**row) for row in rows), key=str)


async def refuse_unsafe_role(connection: Any) -> None:
    """Refuse to go on as a role that row-level security does not bind."""
    _refuse(await role_findings(connection))


async def refuse_unsafe_database(connection: Any, *, reviewed: Collection[str]) -> None:
    """Refuse to go on as such a role, or on a schema with a gap."""
    _refuse(await role_findings(connection))
    _refuse(await schema_findings(connection, reviewed=reviewed))


async def refuse_unsafe_engine(engine: AsyncEngine) -> None:
    """Refuse to work through an engine whose role row-level security does not bind."""
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        await refuse_unsafe_role(raw.driver_connection)


def _refuse(found: list[Finding]) -> None:
    if found:
        raise UnsafeDatabaseError("; ".join(map(str, found)))
