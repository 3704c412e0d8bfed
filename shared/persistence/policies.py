"""Row-level security as DDL: the second wall between organizations.

Each function returns statements for a migration. A restrictive policy alone grants nothing, so
every tenant table has a permissive one beside it.
"""

from collections.abc import Iterable, Sequence

FUNCTIONS = (
    (
        "CREATE FUNCTION current_organization() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE"
        " RETURN NULLIF(current_setting('app.organization_id', true), '')::uuid"
    ),
    (
        "CREATE FUNCTION current_person() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE"
        " RETURN NULLIF(current_setting('app.person_id', true), '')::uuid"
    ),
)


def tenant(table: str, *, roles: Sequence[str]) -> list[str]:
    """Let each role see and write the rows of its transaction's organization only."""
    named = ", ".join(roles)
    mine = "organization_id = (SELECT current_organization())"
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        (
            f"CREATE POLICY tenant ON {table} AS RESTRICTIVE TO {named}"
            f" USING ({mine}) WITH CHECK ({mine})"
        ),
        f"CREATE POLICY within ON {table} TO {named} USING (true) WITH CHECK (true)",
    ]


def confined(
    table: str, *, reader: str, readable: str, keeper: str, keys: Sequence[str]
) -> list[str]:
    """Let the reader see and write rows within a condition; the keeper deletes them unread."""
    mine = "organization_id = (SELECT current_organization())"
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        (
            f"CREATE POLICY tenant ON {table} AS RESTRICTIVE TO {reader}, {keeper}"
            f" USING ({mine}) WITH CHECK ({mine})"
        ),
        f"CREATE POLICY audience ON {table} TO {reader} USING ({readable}) WITH CHECK ({readable})",
        f"CREATE POLICY keep ON {table} TO {keeper} USING (true)",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {reader}",
        f"GRANT SELECT (organization_id, {', '.join(keys)}), DELETE ON {table} TO {keeper}",
    ]


def grant(
    table: str, *, roles: Sequence[str], rights: str = "SELECT, INSERT, UPDATE, DELETE"
) -> list[str]:
    """Grant rights on a table."""
    return [f"GRANT {rights} ON {table} TO {', '.join(roles)}"]


def unread(table: str, *, role: str, readable: Sequence[str]) -> list[str]:
    """Narrow what a role that was granted a table may read of it to some columns."""
    return [
        f"REVOKE SELECT ON {table} FROM {role}",  # noqa: S608 - a name of our own
        f"GRANT SELECT ({', '.join(readable)}) ON {table} TO {role}",
    ]


def queue(table: str, *, read: Iterable[str], write: Iterable[str]) -> list[str]:
    """Let `worker_system` claim rows: ids, due times and lease columns, never content."""
    return [
        f"CREATE POLICY claim ON {table} TO worker_system USING (true)",
        (
            f"GRANT SELECT ({', '.join(read)}), UPDATE ({', '.join(write)}) ON {table}"
            " TO worker_system"
        ),
    ]
