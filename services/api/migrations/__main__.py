"""`python -m services.api.migrations`: bring the api's database to the newest revision."""

import sys
from pathlib import Path

from services.api.migrations import tables
from shared.persistence import migrations
from shared.settings import told_database_url

FOLDER = Path(__file__).parent
URL = "MENTORING_API_MIGRATOR_DATABASE_URL"


def main(arguments: list[str]) -> None:
    """Upgrade; with a message, write the next revision instead."""
    url = told_database_url(URL)
    if arguments:
        migrations.write_revision(
            folder=FOLDER, url=url, target=tables.METADATA, message=" ".join(arguments)
        )
    else:
        migrations.upgrade(folder=FOLDER, url=url, target=tables.METADATA)


if __name__ == "__main__":
    main(sys.argv[1:])
