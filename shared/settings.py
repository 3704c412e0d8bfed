"""What every service is told by its environment.

Names carry the prefix `MENTORING_`; a file of the same name under `/run/secrets` serves where
containers hand out secrets as files.
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRETS = Path("/run/secrets")


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


class ServiceSettings(BaseSettings):
    """Settings common to all services."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="MENTORING_",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        extra="ignore",
        hide_input_in_errors=True,
    )

    env: Environment = Field(
        Environment.PRODUCTION,
        description="`development` or `production`; production refuses aids.",
    )
    mode: Mode = Field(Mode.NORMAL, description="`normal`, or `demo` for a local try-out.")
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


def told(variable: str) -> str:
    """Return one value by its variable's name, from the environment or from its secret file."""
    value = os.environ.get(variable)
    if value is not None:
        return value
    file = SECRETS / variable.lower()
    if not file.is_file():
        raise LookupError(f"{variable} is set neither in the environment nor as {file}")
    return file.read_text().strip()
