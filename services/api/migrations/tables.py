"""Every table of the api in one visible list, for migrations and the catalogue lint."""

from services.api.access import tables as access
from services.api.database import ApiTable
from services.api.events import tables as events
from services.api.integrations.connections import tables as connections
from services.api.integrations.imports import tables as imports
from services.api.integrations.mappings import tables as mappings
from services.api.issuer import tables as issuer
from services.api.match_runs import tables as match_runs
from services.api.meetings import tables as meetings
from services.api.mentorships import tables as mentorships
from services.api.organizations import tables as organizations
from services.api.participants import tables as participants
from services.api.people import tables as people
from services.api.programs import tables as programs
from services.api.proposals import tables as proposals
from services.api.shortlists import tables as shortlists
from services.api.sign_in.email_codes import tables as email_codes
from services.api.sign_in.requests import tables as sign_ins
from services.api.sign_in.upstream import tables as upstream
from services.api.timers import tables as timers

MODULES = (
    *(access, events, timers, organizations, people, programs, participants),
    *(shortlists, proposals, match_runs, mentorships, meetings),
    *(connections, mappings, imports),
    *(issuer, email_codes, sign_ins, upstream),
)
METADATA = ApiTable.metadata
