"""Connections over HTTP: the guard that can be raised but not removed, and identity providers."""

from typing import Any

import httpx
import pytest
from joserfc.errors import JoseError

from services.api.access import sealing
from services.api.access.rules import Scope
from services.api.integrations.connections.tables import OidcConnection
from shared import ids
from shared.persistence.sessions import transaction
from shared.persistence.tenancy import Tenant
from tests.api.credentials.test_routes import narrowed
from tests.support.apps import KEY_ENCRYPTION_KEY, World
from tests.support.imports import csv, mapping

PATCH = {"Content-Type": "application/merge-patch+json"}


async def test_a_connection_is_careful_by_default(world: World) -> None:
    answer = await world.org_admin.post("/v1/connections", json={"label": "HR"})

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/connections/{made['id']}"
    assert (made["kind"], made["status"], made["on_missing"]) == ("file", "active", "ignore")
    assert (made["guard_people"], made["guard_percent"]) == (5, 10)
    assert made["source"] == made["id"]
    assert (await world.org_admin.get(answer.headers["Location"])).json() == made
    assert (await world.org_admin.get("/v1/connections")).json()["items"] == [made]


@pytest.mark.parametrize(
    "guard", [{"guard_people": 4}, {"guard_percent": 9}, {"guard_percent": 51}]
)
async def test_the_guard_is_raised_never_removed(world: World, guard: dict[str, int]) -> None:
    answer = await world.org_admin.post("/v1/connections", json={"label": "HR", **guard})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "out_of_range"


async def test_a_change_names_the_version_it_saw(world: World) -> None:
    made = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    path, change = f"/v1/connections/{made['id']}", {"on_missing": "deactivate"}

    blind = await world.org_admin.patch(path, json=change, headers=PATCH)
    seen = await world.org_admin.patch(path, json=change, headers=PATCH | {"If-Match": '"1"'})
    stale = await world.org_admin.patch(path, json=change, headers=PATCH | {"If-Match": '"1"'})

    assert (blind.status_code, seen.status_code, stale.status_code) == (428, 200, 412)
    assert (seen.json()["on_missing"], seen.json()["label"]) == ("deactivate", "HR")


async def test_labels_are_unique(world: World) -> None:
    made = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    other = (await world.org_admin.post("/v1/connections", json={"label": "Payroll"})).json()

    twice = await world.org_admin.post("/v1/connections", json={"label": "HR"})
    same_id = await world.org_admin.post("/v1/connections", json={"label": "New", "id": made["id"]})
    renamed = await world.org_admin.patch(
        f"/v1/connections/{other['id']}", json={"label": "HR"}, headers=PATCH | {"If-Match": "*"}
    )

    assert {one.json()["code"] for one in (twice, same_id, renamed)} == {"already_exists"}


async def test_a_machine_reads_connections_and_makes_none(world: World) -> None:
    made = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    machine = await world.add_key("imports:write")

    assert (await machine.get(f"/v1/connections/{made['id']}")).json() == made
    refused = await machine.post(
        "/v1/connections", json={"label": "X"}, headers={"Idempotency-Key": "x"}
    )
    assert refused.status_code == 403


MISSING = ids.format_id("connection", ids.new_id())
OIDC = {
    "issuer": "https://login.example.org/realms/works",
    "client_id": "mentoring",
    "client_secret": "a secret of the provider",
}


def provider(**changes: Any) -> dict[str, Any]:
    return {"label": "Works login", "kind": "oidc", "oidc": OIDC | changes}


async def made(world: World, **changes: Any) -> dict[str, Any]:
    answer = await world.org_admin.post("/v1/connections", json=provider(**changes))
    assert answer.status_code == 201, answer.text
    connection: dict[str, Any] = answer.json()
    return connection


async def patched(world: World, connection: dict[str, Any], **change: Any) -> httpx.Response:
    path = f"/v1/connections/{connection['id']}"
    return await world.org_admin.patch(path, json=change, headers=PATCH | {"If-Match": "*"})


async def test_an_identity_provider_is_kept_and_its_secret_never_shown(world: World) -> None:
    connection = await made(world)

    shown = await world.org_admin.get(f"/v1/connections/{connection['id']}")
    listed = await world.org_admin.get("/v1/connections")
    assert shown.json() == listed.json()["items"][0] == connection
    assert "a secret of the provider" not in shown.text + listed.text
    assert connection["oidc"] == {
        "issuer": "https://login.example.org/realms/works",
        "client_id": "mentoring",
        "scopes": ["openid", "email", "profile"],
        "external_id_claim": None,
        "people_connection_id": None,
        "provisioning": "off",
        "redirect_uri": "http://127.0.0.1:8000/oauth/callback",
    }
    assert connection["on_missing"] is connection["guard_people"] is None
    # Codes by mail end where a provider is active; this one was not even tested.
    assert connection["status"] == "paused"


async def test_the_secret_lies_encrypted(world: World) -> None:
    connection = await made(world)

    organization_id = world.id
    key = (organization_id, ids.parse_id("connection", connection["id"]))
    resources = world.app.state.resources
    async with transaction(resources.sessions, Tenant(organization_id)) as session:
        kept = await session.get(OidcConnection, key)
    assert kept is not None
    assert "secret" not in kept.sealed_secret
    assert sealing.unseal(kept.sealed_secret, KEY_ENCRYPTION_KEY) == b"a secret of the provider"
    with pytest.raises(JoseError):
        sealing.unseal(kept.sealed_secret, "A" * 43)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"label": "X", "kind": "oidc"}, "#/oidc"),
        ({"label": "X", "oidc": OIDC}, "#/oidc"),
        (provider() | {"guard_people": 9}, "#/guard_people"),
        (provider() | {"on_missing": "ignore"}, "#/on_missing"),
        (provider(issuer="http://login.example.org"), "#/oidc/issuer"),
        (provider(issuer="https://10.0.0.1"), "#/oidc/issuer"),
        (provider(issuer="https://169.254.169.254"), "#/oidc/issuer"),
        (provider(issuer="https://somebody@login.example.org"), "#/oidc/issuer"),
        (provider(issuer="https://login.example.org/?x=1"), "#/oidc/issuer"),
        (provider(issuer="https://login.example.org:22"), "#/oidc/issuer"),
        (provider(scopes=["two words"]), "#/oidc/scopes/0"),
        (provider(people_connection_id=MISSING), "#/oidc/people_connection_id"),
    ],
)
async def test_what_does_not_fit_the_kind_is_refused(
    world: World, body: dict[str, Any], pointer: str
) -> None:
    answer = await world.org_admin.post("/v1/connections", json=body)

    assert answer.status_code == 400
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


async def test_openid_is_always_asked_for(world: World) -> None:
    connection = await made(world, scopes=["groups"])

    assert connection["oidc"]["scopes"] == ["openid", "groups"]


async def test_an_identity_provider_changes_in_parts(world: World) -> None:
    connection = await made(world, external_id_claim="employee_id")

    answer = await patched(world, connection, status="paused", oidc={"provisioning": "pending"})

    assert answer.status_code == 200
    assert answer.json()["status"] == "paused"
    assert answer.json()["oidc"] == connection["oidc"] | {"provisioning": "pending"}
    cleared = await patched(world, connection, oidc={"external_id_claim": None})
    assert cleared.json()["oidc"]["external_id_claim"] is None


async def test_a_stored_secret_is_not_sent_to_another_issuer(world: World) -> None:
    connection = await made(world)
    elsewhere = {"issuer": "https://elsewhere.example.org"}

    refused = await patched(world, connection, oidc=elsewhere)
    moved = await patched(world, connection, oidc=elsewhere | {"client_secret": "another"})

    assert refused.json()["errors"][0]["pointer"] == "#/oidc/client_secret"
    assert moved.json()["oidc"]["issuer"] == elsewhere["issuer"]


async def test_files_come_in_only_where_files_do(world: World) -> None:
    files = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()
    mapping_id = (
        await world.org_admin.post("/v1/mappings", json={"name": "M", "document": mapping()})
    ).json()["id"]

    async def sent(connection: dict[str, Any]) -> httpx.Response:
        return await world.org_admin.post(
            "/v1/imports",
            data={"connection_id": connection["id"], "mapping_id": mapping_id},
            files={"file": ("people.csv", csv({"id": "1"}), "text/csv")},
        )

    assert (await sent(await made(world))).json()["errors"][0]["code"] == "unknown_reference"
    await patched(world, files, status="paused")
    assert (await sent(files)).json()["code"] == "connection_paused"


async def test_a_file_connection_has_no_provider_to_change_or_to_test(world: World) -> None:
    files = (await world.org_admin.post("/v1/connections", json={"label": "HR"})).json()

    changed = await patched(world, files, oidc={"provisioning": "pending"})
    tested = await world.org_admin.post(f"/v1/connections/{files['id']}/test")

    assert changed.json()["errors"][0]["pointer"] == "#/oidc"
    assert tested.status_code == 409


async def test_a_narrow_app_decides_nothing_about_identity_providers(world: World) -> None:
    """Whoever one vouches for is let in as anybody, org_admins among them."""
    narrow = await narrowed(world, Scope.IMPORTS_WRITE)
    body = {
        "label": "Mine",
        "kind": "oidc",
        "oidc": {
            "issuer": "https://login.example.org/realms/works",
            "client_id": "mentoring",
            "client_secret": "of-the-tests",
        },
    }

    refused = await narrow.org_admin.post("/v1/connections", json=body)
    made = await world.org_admin.post("/v1/connections", json=body)
    path = f"/v1/connections/{made.json()['id']}"
    changes: list[dict[str, Any]] = [
        {"status": "active"},
        {"oidc": {"external_id_claim": "nickname"}},
        {"label": "Renamed"},
    ]
    changed = [
        await narrow.org_admin.patch(path, json=one, headers=PATCH | {"If-Match": "*"})
        for one in changes
    ]

    for answer in (refused, *changed):
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert (await world.org_admin.get(path)).json() == made.json()
    files = await narrow.org_admin.post("/v1/connections", json={"label": "HR"})
    assert files.status_code == 201
    path = f"/v1/connections/{files.json()['id']}"
    changed_file = await narrow.org_admin.patch(
        path, json={"on_missing": "deactivate"}, headers=PATCH | {"If-Match": "*"}
    )
    assert changed_file.status_code == 200
