"""Which organization a transaction belongs to; without one, no transaction begins.

Row-level security compares every row with these two settings. They are made with
`set_config(..., true)`, which ends with the transaction and cannot leak to the pool's next user.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

SET_TENANT = (
    "SELECT set_config('app.organization_id', $1, true), set_config('app.person_id', $2, true)"
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """The organization of a transaction, and the person acting in it where there is one."""

    organization_id: UUID
    person_id: UUID | None = None

    @property
    def settings(self) -> tuple[str, str]:
        """Return the values of `SET_TENANT`."""
        return str(self.organization_id), str(self.person_id or "")


class TenantSession(Session):
    """A session that refuses to begin without a tenant."""


@event.listens_for(TenantSession, "after_begin")
def put_tenant(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    """Tell the database whose rows this transaction may see."""
    tenant = session.info.get("tenant")
    if not isinstance(tenant, Tenant):
        raise RuntimeError("a session was opened without a tenant")  # noqa: TRY004 - state, not type
    connection.exec_driver_sql(SET_TENANT, tenant.settings)
