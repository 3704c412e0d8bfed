"""A provider that others wrote: Canaille, which pytest-iam runs, as an organization uses it."""

import secrets
from typing import Any

from pytest_iam import Server


def issuer_of(server: Server) -> str:
    """Return the name the provider goes by."""
    return server.url.rstrip("/")


def register_at(server: Server, callback: str) -> dict[str, Any]:
    """Register the product there, and return what a connection to it says."""
    client_id, secret = secrets.token_hex(8), secrets.token_urlsafe(24)
    registered = server.models.Client(
        client_id=client_id,
        client_secret=secret,
        client_name="Mentoring",
        redirect_uris=[callback],
        scope=["openid", "profile", "email"],
        grant_types=["authorization_code"],
        response_types=["code"],
        token_endpoint_auth_method="client_secret_basic",
        id_token_signed_response_alg="RS256",
    )
    server.backend.save(registered)
    registered.audience = [registered]
    server.backend.save(registered)
    return {"client_id": client_id, "client_secret": secret, "external_id_claim": "sub"}


def account(server: Server, **values: Any) -> Any:
    """Register somebody at the provider who has agreed to everything."""
    return server.random_user(**{"user_name": secrets.token_hex(6), **values})
