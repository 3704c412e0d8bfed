"""Every table of the api in one visible list, for migrations and the catalogue lint."""

from services.api.access import tables as access
from services.api.database import ApiTable
from services.api.events import tables as events
from services.api.organizations import tables as organizations
from services.api.people import tables as people
from services.api.timers import tables as timers

MODULES = (access, events, organizations, people, timers)
METADATA = ApiTable.metadata
