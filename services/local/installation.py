"""Secrets and environment of one machine's installation, made once and kept private."""

import base64
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey

from services.local import state
from services.local.roles import ROLES

SERVICES = ("api", "matching", "notifications")
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "TZDIR")
"""What a machine may need to find its programs, its libraries, its language and its time zones."""

OF_A_DEVELOPER = (
    "MENTORING_CORS_ORIGINS",
    "MENTORING_EGRESS_ALLOW",
    "MENTORING_RATE_LIMIT",
    "MENTORING_ORGANIZATION_RATE_LIMIT",
    "MENTORING_NETWORK_RATE_LIMIT",
    "MENTORING_SIGN_IN_RATE_LIMIT",
    "MENTORING_SIGN_IN_ORGANIZATION_RATE_LIMIT",
)
"""What whoever builds on a local stack may set for its api."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything of this installation listens."""

    api: str
    matching: str
    notifications: str
    mail_host: str
    mail_port: int
    mail: str
    database: str


@dataclass(frozen=True, slots=True)
class Installation:
    """Passwords, keys and tokens of one installation."""

    passwords: dict[str, str]
    service_keys: dict[str, dict[str, Any]]
    key_encryption_key: str
    operator_token: str

    @classmethod
    def load(cls, folder: Path) -> "Installation":
        """Return the installation of a state folder, made the first time."""
        return cls(**state.load_or_make(folder / "secrets.json", _make))

    def environment(self, service: str, where: Addresses) -> dict[str, str]:
        """Return what one service is told: only its own secrets, and where its peers are."""
        common = {
            **of_this_machine(),
            "PYTHONUNBUFFERED": "1",
            "MENTORING_ENV": "development",
            "MENTORING_MODE": "demo",
            "MENTORING_SERVICE_KEY": json.dumps(self.service_keys[service]),
            "MENTORING_SERVICE_PUBLIC_KEYS": json.dumps({"keys": self._public_keys()}),
            "MENTORING_API_URL": f"{where.api}/v1",
            "MENTORING_MATCHING_URL": where.matching,
            "MENTORING_NOTIFICATIONS_URL": where.notifications,
        }
        return (
            common
            | {
                "api": self._api(where),
                "notifications": self._notifications(where),
                "matching": {},
            }[service]
        )

    def database_url(self, role: str, database: str, server: str) -> str:
        """Return the address of a database for one role; `server` is host and port."""
        return f"postgresql://{role}:{self.passwords[role]}@{server}/{database}"

    def _api(self, where: Addresses) -> dict[str, str]:
        server = where.database
        return {
            "MENTORING_API_DATABASE_URL": self.database_url("app_api", "api", server),
            "MENTORING_API_JOBS_DATABASE_URL": self.database_url("app_jobs", "api", server),
            "MENTORING_API_WORKER_DATABASE_URL": self.database_url("worker_system", "api", server),
            "MENTORING_API_MIGRATOR_DATABASE_URL": self.database_url("migrator", "api", server),
            "MENTORING_ISSUER": where.api,
            "MENTORING_KEY_ENCRYPTION_KEY": self.key_encryption_key,
            "MENTORING_OPERATOR_TOKEN": self.operator_token,
            "MENTORING_DEV_LOGIN": "1",
            **_set_here(OF_A_DEVELOPER),
        }

    def _notifications(self, where: Addresses) -> dict[str, str]:
        server, name = where.database, "notifications"
        return {
            "MENTORING_NOTIFICATIONS_DATABASE_URL": self.database_url(
                "app_notifications", name, server
            ),
            "MENTORING_NOTIFICATIONS_WORKER_DATABASE_URL": self.database_url(
                "worker_system", name, server
            ),
            "MENTORING_NOTIFICATIONS_MIGRATOR_DATABASE_URL": self.database_url(
                "migrator", name, server
            ),
            "MENTORING_SMTP_HOST": where.mail_host,
            "MENTORING_SMTP_PORT": str(where.mail_port),
            "MENTORING_MAIL_FROM": "mentoring@example.org",
            # The mail server is the local sink: what sandboxes send stays on this machine.
            "MENTORING_SANDBOX_SMTP": "1",
        }

    def _public_keys(self) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in key.items() if name != "d"}
            for key in self.service_keys.values()
        ]


def of_this_machine() -> dict[str, str]:
    """Return what every program is told of the machine, whatever it does."""
    return _set_here(PASSED_ON)


def _set_here(names: Iterable[str]) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}


def _make() -> dict[str, Any]:
    return {
        "passwords": {role: secrets.token_hex(24) for role in ROLES},
        "service_keys": {name: _service_key(name) for name in SERVICES},
        "key_encryption_key": _key_text(secrets.token_bytes(32)),
        "operator_token": secrets.token_hex(24),
    }


def _service_key(name: str) -> dict[str, Any]:
    key = ECKey.generate_key("P-256", {"kid": f"service:{name}"}, private=True)
    return dict(key.as_dict(private=True))


def _key_text(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")
