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
    DRIVER = "driver"
    FACILITATOR = "facilitator"
    PEOPLE_MANAGER = "people_manager"
    SERVICE = "service"


GRANTED = frozenset({Role.ORG_ADMIN, Role.COORDINATOR, Role.ANALYST, Role.SAFEGUARDING})
"""Roles that stand in a role assignment."""

OF_A_PROGRAM = frozenset({Role.COORDINATOR, Role.ANALYST})
"""Granted roles that always name their program."""

RELATIVE = frozenset({Role.SELF, Role.MEMBER, Role.DRIVER, Role.FACILITATOR, Role.PEOPLE_MANAGER})
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
        "identity_link.manage": _ADMIN,
        "me.read": _ANYBODY,
        "me.home": _roles(Role.PERSON),
        "me.sign_out": _roles(Role.PERSON),
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
        "policy.try": _COORDINATOR,
        "agreement_template.read": _ANYBODY,
        "agreement_template.change": _ADMIN | _COORDINATOR,
        "program.readiness": _ADMIN | _COORDINATOR,
        "program.forecast": _roles(Role.COORDINATOR, Role.ANALYST),
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
        "shortlist.own": _roles(Role.SELF),
        "suggestion.own": _roles(Role.SELF),
        "match_run.start": _roles(Role.COORDINATOR, Role.SERVICE),
        "match_run.read": _roles(Role.ORG_ADMIN, Role.COORDINATOR, Role.SERVICE),
        "match_run.read_all": _ADMIN_AND_SERVICE,
        "match_run.compare": _COORDINATOR,
        "match_run.decide": _roles(Role.COORDINATOR, Role.SERVICE),
        "match_run.explain": _roles(Role.ORG_ADMIN, Role.COORDINATOR, Role.SERVICE, Role.MEMBER),
        "proposal.read": _roles(Role.ORG_ADMIN, Role.COORDINATOR, Role.MEMBER),
        "proposal.read_all": _ADMIN,
        "proposal.list": _ADMIN | _COORDINATOR,
        "proposal.decide": _COORDINATOR,
        "proposal.answer": _roles(Role.MEMBER),
        "proposal.own": _roles(Role.PERSON),
        "mentorship.list": _ANYBODY,
        "mentorship.read": _ANYBODY,
        "mentorship.own": _roles(Role.PERSON),
        "mentorship.read_all": _roles(Role.ORG_ADMIN, Role.SAFEGUARDING, Role.SERVICE),
        "mentorship.know": _roles(
            *(Role.ORG_ADMIN, Role.SAFEGUARDING, Role.SERVICE, Role.COORDINATOR, Role.MEMBER)
        ),
        "mentorship.read_reason": _ADMIN | _COORDINATOR,
        "mentorship.create": _COORDINATOR,
        "mentorship.start": _roles(Role.MEMBER),
        "mentorship.pause": _roles(Role.MEMBER, Role.SAFEGUARDING),
        "mentorship.extend": _roles(Role.MEMBER),
        "mentorship.begin_closing": _roles(Role.MEMBER, Role.COORDINATOR),
        "mentorship.complete": _roles(Role.MEMBER),
        "mentorship.end_early": _roles(Role.MEMBER, Role.FACILITATOR, Role.COORDINATOR),
        "mentorship.end_group": _roles(Role.FACILITATOR, Role.COORDINATOR),
        "mentorship.change_driver": _roles(Role.DRIVER, Role.FACILITATOR, Role.COORDINATOR),
        "member.leave": _roles(Role.SELF),
        "member.remove": _roles(Role.FACILITATOR, Role.COORDINATOR, Role.SAFEGUARDING),
        "meeting.list": _ANYBODY,
        "meeting.read": _ANYBODY,
        "meeting.read_all": _roles(Role.ORG_ADMIN, Role.SAFEGUARDING, Role.SERVICE),
        "meeting.arrange": _roles(Role.MEMBER),
        "event.read": _ADMIN_AND_SERVICE,
        "inbox.own": _roles(Role.PERSON),
        "delivery.own": _roles(Role.PERSON),
        "delivery.read": _ADMIN,
        "sandbox.use": _ADMIN,
        "connection.read": _ADMIN_AND_SERVICE,
        "connection.manage": _ADMIN,
        "mapping.manage": _ADMIN_AND_SERVICE,
        "import.manage": _ADMIN_AND_SERVICE,
    }
)


def grants(permission: str, held: frozenset[Role]) -> bool:
    """Tell whether any of the facts held grants the permission."""
    return not PERMISSIONS[permission].isdisjoint(held)


def could_grant(permission: str, held: frozenset[Role], *, is_person: bool) -> bool:
    """Tell whether the permission might be granted towards some resource, before one is known."""
    possible = held | RELATIVE if is_person else held
    return grants(permission, possible)
