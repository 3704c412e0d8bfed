"""What every service is told by its environment.

Names carry the prefix `MENTORING_`; a file of the same name under `/run/secrets` serves where
containers hand out secrets as files.
"""

import ipaddress
import os
from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = Path("/run/secrets")
PREFIX = "MENTORING_"
OTHERS = frozenset(
    f"{PREFIX}{name}" for name in ("STATE", "COMPOSE", "LISTEN_FD", "SMTP_FD", "HEARTBEAT_FILE")
)
"""Variables that are read elsewhere and are no settings of a service."""
ALIKE = 0.85
"""How much a name resembles a setting's before it counts as that name misspelt."""


class SettingError(LookupError):
    """A variable is missing or wrong; the text names it and never shows its value."""


class Environment(StrEnum):
    """Where this installation stands."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Mode(StrEnum):
    """What this installation is for; a demo never holds anybody's real programs."""

    NORMAL = "normal"
    DEMO = "demo"


class Pooler(StrEnum):
    """What stands between a service and PostgreSQL."""

    NONE = "none"
    TRANSACTION = "transaction"


def _check_database_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_place = False
    if not has_place or parts.scheme != "postgresql":
        raise ValueError("should be an address such as postgresql://role:password@host:5432/name")


def _database_url(value: SecretStr) -> SecretStr:
    _check_database_url(value.get_secret_value())
    return value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]


class ServiceSettings(BaseSettings):
    """Settings common to all services."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX,
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        hide_input_in_errors=True,
    )

    env: Environment = Field(
        Environment.PRODUCTION,
        description="`development` or `production`; production refuses aids.",
    )
    mode: Mode = Field(Mode.NORMAL, description="`normal`, or `demo` for a local try-out.")
    demo_public: bool = Field(
        False, description="Lets a demo listen beyond this machine; it holds invented people only."
    )
    log_level: str = Field("info", description="Least severe log line that is written.")
    drain_seconds: float = Field(
        5.0, ge=0, description="How long to serve on after SIGTERM while not ready, in seconds."
    )
    service_key: SecretStr | None = Field(
        None, description="This service's own private ES256 key as a JWK; signs service tokens."
    )
    service_public_keys: str = Field(
        '{"keys": []}', description="Public ES256 keys of all services as a JWK set."
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine can be meant by a host's name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def told(variable: str) -> str:
    """Return one value by its variable's name, from the environment or from its secret file."""
    value = os.environ.get(variable)
    if value is not None:
        return value
    file = SECRETS / variable.lower()
    if not file.is_file():
        raise SettingError(f"{variable}: is set neither in the environment nor as {file}")
    return file.read_text().strip()


def told_database_url(variable: str) -> str:
    """Return the address of a database by its variable's name."""
    url = told(variable)
    try:
        _check_database_url(url)
    except ValueError as error:
        raise SettingError(f"{variable}: {error}") from None
    return url


def faults(kind: type[ServiceSettings], *, may_lack: bool = False) -> list[str]:
    """Return what is wrong with the settings of a service, one line for each variable."""
    try:
        kind()
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        lines = [
            _line(str(one["loc"][0]) if one["loc"] else "", one["type"], one["msg"])
            for one in found
            if not (may_lack and one["type"] == "missing")
        ]
        return list(dict.fromkeys(lines))
    return []


def _line(name: str, rule: str, words: str) -> str:
    said = "must be given" if rule == "missing" else words.removeprefix("Value error, ")
    # What several settings break together names them itself.
    return f"{PREFIX}{name.upper()}: {said}" if name else said


def misspelt(kinds: Iterable[type[ServiceSettings]]) -> list[str]:
    """Return a line for each variable that nothing reads and that looks like a setting."""
    known = OTHERS | {f"{PREFIX}{name.upper()}" for kind in kinds for name in kind.model_fields}
    lines = []
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name.upper() not in known:
            alike = get_close_matches(name.upper(), sorted(known), n=1, cutoff=ALIKE)
            lines += [f"{name}: no such setting; did you mean {one}?" for one in alike]
    return lines
