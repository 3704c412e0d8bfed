"""Secrets of a containers' installation as files, one value each, in a folder for its owner alone.

The folder is private; the files in it are readable, because a container sees each of them mounted
by itself and reads it as an account of its own.
"""

import json
import secrets
from pathlib import Path

from services.local import state
from services.local.installation import SERVICES, Addresses, Installation

INSIDE = Addresses(
    api="http://api:8000",
    matching="http://matching:8000",
    notifications="http://notifications:8000",
    mail_host="",
    mail_port=0,
    mail="",
    database="database:5432",
)
# What a container reads as a secret; the rest of its environment is no secret.
SECRET_SUFFIXES = ("_DATABASE_URL", "_ENCRYPTION_KEY", "_OPERATOR_TOKEN", "_PUBLIC_KEYS")


def write(folder: Path) -> list[str]:
    """Make every secret that the compose file names; a second call changes none of them."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    installation = Installation.load(folder)
    values = {
        "postgres_password": state.load_or_make(folder / "postgres.json", secrets.token_hex),
        "role_passwords": "".join(
            f"{role}={password}\n" for role, password in installation.passwords.items()
        ),
    }
    for service in SERVICES:
        environment = installation.environment(service, INSIDE)
        values[f"mentoring_{service}_service_key"] = json.dumps(installation.service_keys[service])
        for name, value in environment.items():
            if name.endswith(SECRET_SUFFIXES):
                values[name.lower()] = value
    for name, value in values.items():
        state.private_file(folder / name, value)
        (folder / name).chmod(0o644)
    return sorted(values)
