"""Every table of notifications in one visible list, for migrations and the catalogue lint."""

from services.notifications.database import NotificationsTable
from services.notifications.deliveries import tables as deliveries
from services.notifications.inbox import tables as inbox
from services.notifications.intake import tables as intake

MODULES = (deliveries, inbox, intake)
METADATA = NotificationsTable.metadata
