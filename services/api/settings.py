"""What the api service is told by its environment."""

import base64
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from shared.egress import check_allowed
from shared.settings import DatabaseUrl, Environment, Mode, Pooler, ServiceSettings

KEY_BYTES = 32


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value().rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"should be {KEY_BYTES} bytes in base64url")
    return value


def _places(value: list[str]) -> list[str]:
    try:
        check_allowed(value)
    except ValueError:
        raise ValueError("should name hosts or networks, such as idp.corp,10.2.0.0/16") from None
    return value


def _proxies(value: str) -> str:
    parts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        for part in parts:
            ip_network(part)
    except ValueError:
        # The server would take what is none for a name, and trust nobody without a word.
        raise ValueError(
            "should be addresses or networks, such as 127.0.0.1,172.16.0.0/12"
        ) from None
    return ",".join(parts)


class ApiSettings(ServiceSettings):
    """Settings of `services.api`; every one is documented in docs/configuration.md."""

    api_database_url: DatabaseUrl = Field(description="Database of the api as the role `app_api`.")
    api_jobs_database_url: DatabaseUrl | None = Field(
        None, description="The same database as `app_jobs`; the worker needs it."
    )
    api_worker_database_url: DatabaseUrl | None = Field(
        None, description="The same database as `worker_system`; the worker needs it."
    )
    api_migrator_database_url: DatabaseUrl | None = Field(
        None, description="The same database as `migrator`; migrations need it."
    )
    api_connections: int = Field(
        16,
        ge=1,
        le=200,
        description="Connections of each pool, one for reads and one for writes. Four requests per"
        " connection are worked on at once, at most half of them of one organization.",
    )
    database_pooler: Pooler = Field(
        Pooler.NONE, description="`none`, or `transaction` behind PgBouncer in transaction mode."
    )
    api_url: str = Field(
        "http://127.0.0.1:8000/v1", description="Public address of this api, ending in /v1."
    )
    issuer: str = Field(
        "http://127.0.0.1:8000", description="Name of the built-in token issuer: the api's root."
    )
    key_encryption_key: Annotated[SecretStr, AfterValidator(_key)] = Field(
        description="32 bytes in base64url; signing keys are encrypted with it at rest."
    )
    operator_token: SecretStr | None = Field(
        None, description="Opens the operator's doors; without it they stay shut."
    )
    dev_login: bool = Field(
        False, description="Developer sign-in for local work; production refuses to start with it."
    )
    matching_url: str = Field(
        "http://127.0.0.1:8001", description="Where the matching service listens."
    )
    notifications_url: str = Field(
        "http://127.0.0.1:8002", description="Where the notifications service listens."
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="Origins of browser front ends, separated by commas."
    )
    trusted_proxies: Annotated[str, AfterValidator(_proxies)] = Field(
        "127.0.0.1",
        description="Addresses or networks of the proxies in front, separated by commas. Only"
        " what they say in `X-Forwarded-For` and `X-Forwarded-Proto` is believed.",
    )
    egress_allow: Annotated[list[str], NoDecode, AfterValidator(_places)] = Field(
        default_factory=list,
        description="Hosts or networks inside that addresses given by customers may lead to, such"
        " as an identity provider on the premises; separated by commas. Metadata addresses of"
        " clouds stay shut. Loopback hosts may be called without TLS, except in production.",
    )
    rate_limit: int = Field(600, ge=1, description="Requests per minute of one principal.")
    organization_rate_limit: int = Field(
        6000, ge=1, description="Requests per minute of one organization."
    )
    network_rate_limit: int = Field(
        1200,
        ge=1,
        description="Requests per minute of one network that show no credential, or none that was"
        " found to be good: an office whose five hundred phones come back at once shows as many"
        " expired tokens, and refreshes as many.",
    )
    sign_in_rate_limit: int = Field(
        60,
        ge=1,
        description="Forms per minute of one network at the doors of signing in: addresses, codes"
        " and ways to a provider. Five times as many sign-ins may begin there.",
    )
    sign_in_organization_rate_limit: int = Field(
        120, ge=1, description="Codes by mail per minute that people of one organization ask for."
    )
    import_max_bytes: int = Field(
        10 * 1024 * 1024, ge=1024, description="Largest people file that is taken, in bytes."
    )

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("cors_origins", "egress_allow"):
            given = values.get(name)
            if isinstance(given, str):
                values[name] = [part.strip() for part in given.split(",") if part.strip()]
        return values

    @model_validator(mode="after")
    def _refuse_aids_in_production(self) -> "ApiSettings":
        if self.env is Environment.PRODUCTION and (self.dev_login or self.mode is Mode.DEMO):
            raise ValueError(
                "MENTORING_DEV_LOGIN, MENTORING_MODE: developer sign-in and demo mode are refused"
                " in production"
            )
        return self
