"""Who may do what: one pure table, the only place that names roles.

Roles are facts about an actor, some held everywhere (`org_admin`), some towards one thing only
(`coordinator` of a program, `self` of a person). A permission lists the facts that grant it.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """A fact about an actor that permissions may rest on."""

    ORG_ADMIN = "org_admin"
    COORDINATOR = "coordinator"
    ANALYST = "analyst"
    SAFEGUARDING = "safeguarding"
    PERSON = "person"
    SELF = "self"
    MEMBER = "member"
    PEOPLE_MANAGER = "people_manager"
    SERVICE = "service"


GRANTED = frozenset({Role.ORG_ADMIN, Role.COORDINATOR, Role.ANALYST, Role.SAFEGUARDING})
"""Roles that stand in a role assignment."""

OF_A_PROGRAM = frozenset({Role.COORDINATOR, Role.ANALYST})
"""Granted roles that always name their program."""

RELATIVE = frozenset({Role.SELF, Role.MEMBER, Role.PEOPLE_MANAGER})
"""Facts that depend on the resource: any person may turn out to have them."""


def _roles(*names: Role) -> frozenset[Role]:
    return frozenset(names)


_ADMIN = _roles(Role.ORG_ADMIN)
_ADMIN_AND_SERVICE = _roles(Role.ORG_ADMIN, Role.SERVICE)
_COORDINATOR = _roles(Role.COORDINATOR)
_ANYBODY = _roles(Role.PERSON, Role.SERVICE)

PERMISSIONS: Mapping[str, frozenset[Role]] = MappingProxyType(
    {
        "organization.read": _ADMIN,
        "organization.change": _ADMIN,
        "role_assignment.manage": _ADMIN,
        "api_key.manage": _ADMIN,
        "oauth_client.manage": _ADMIN,
        "me.read": _ANYBODY,
        "me.home": _roles(Role.PERSON),
        "person.list": _ANYBODY,
        "person.read": _ANYBODY,
        "person.read_contact": _roles(
            Role.ORG_ADMIN, Role.COORDINATOR, Role.SAFEGUARDING, Role.SELF, Role.SERVICE
        ),
        "person.read_hr": _roles(Role.ORG_ADMIN, Role.SELF),
        "person.create": _ADMIN_AND_SERVICE,
        "person.change": _ADMIN_AND_SERVICE,
        "person.deactivate": _ADMIN_AND_SERVICE,
        "program.list": _ANYBODY,
        "program.read": _ANYBODY,
        "program.read_draft": _roles(Role.ORG_ADMIN, Role.COORDINATOR, Role.ANALYST, Role.SERVICE),
        "program.create": _ADMIN,
        "program.change": _COORDINATOR,
        "program.cancel": _ADMIN,
        "program.archive": _ADMIN | _COORDINATOR,
        "program.complete": _ADMIN | _COORDINATOR,
        "policy.read": _ADMIN | _COORDINATOR,
        "policy.change": _COORDINATOR,
        "agreement_template.read": _ANYBODY,
        "agreement_template.change": _ADMIN | _COORDINATOR,
        "program.readiness": _ADMIN | _COORDINATOR,
        "participant.list": _ANYBODY,
        "participant.read": _ANYBODY,
        "participant.own": _roles(Role.PERSON),
        "participant.read_all": _roles(Role.ORG_ADMIN, Role.SAFEGUARDING, Role.SERVICE),
        "participant.know": _roles(
            *(Role.ORG_ADMIN, Role.SAFEGUARDING, Role.SERVICE, Role.COORDINATOR),
            *(Role.SELF, Role.PEOPLE_MANAGER),
        ),
        "participant.read_answers": _roles(
            Role.ORG_ADMIN, Role.SERVICE, Role.COORDINATOR, Role.SELF
        ),
        "participant.create": _ANYBODY,
        "participant.register_others": _roles(Role.COORDINATOR, Role.SERVICE),
        "participant.invite": _roles(Role.COORDINATOR, Role.SERVICE),
        "participant.change": _roles(Role.COORDINATOR, Role.SELF),
        "participant.answer": _roles(Role.SELF),
        "participant.acknowledge": _roles(Role.PEOPLE_MANAGER),
        "participant.review": _COORDINATOR,
        "preference.read": _roles(Role.COORDINATOR, Role.SELF),
        "preference.write": _roles(Role.SELF),
        "event.read": _ADMIN_AND_SERVICE,
        "sandbox.use": _ADMIN,
    }
)


def grants(permission: str, held: frozenset[Role]) -> bool:
    """Tell whether any of the facts held grants the permission."""
    return not PERMISSIONS[permission].isdisjoint(held)


def could_grant(permission: str, held: frozenset[Role], *, is_person: bool) -> bool:
    """Tell whether the permission might be granted towards some resource, before one is known."""
    possible = held | RELATIVE if is_person else held
    return grants(permission, possible)
