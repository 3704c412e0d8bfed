"""Limits of granted roles and machine credentials."""

from uuid import UUID

from services.api.access.roles import GRANTED, OF_A_PROGRAM, Role
from shared.errors import ConflictError, InvalidError, Violation


def check_grant(role: Role, program_id: UUID | None) -> None:
    """Refuse roles that are not granted, and a program where it is missing or has no place."""
    if role not in GRANTED:
        raise _invalid("#/role", "not_grantable", "This role follows from facts, not from grants.")
    if role in OF_A_PROGRAM and program_id is None:
        raise _invalid("#/program_id", "missing", f"A {role} is one of a program.")
    if role not in OF_A_PROGRAM and program_id is not None:
        raise _invalid("#/program_id", "unexpected", f"A {role} is one of the organization.")


def last_org_admin() -> ConflictError:
    """Refuse to leave an organization with nobody to run it."""
    return ConflictError("Somebody must remain to run the organization.", code="last_org_admin")


def _invalid(pointer: str, code: str, detail: str) -> InvalidError:
    return InvalidError(errors=[Violation(pointer, code, detail)])
