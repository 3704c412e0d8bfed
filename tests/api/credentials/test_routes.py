"""Credentials of machines: their secret is shown once, and they hold what a machine may hold."""

import pytest

from tests.support.apps import World

DOORS = [("/v1/api-keys", "key"), ("/v1/oauth-clients", "client_secret")]


@pytest.mark.parametrize(("path", "field"), DOORS)
async def test_a_repeated_request_has_the_id_to_revoke_but_no_secret(
    world: World, path: str, field: str
) -> None:
    body = {"label": "Nightly sync", "scopes": ["people:read"]}
    headers = {"Idempotency-Key": "once"}

    first = await world.org_admin.post(path, json=body, headers=headers)
    again = await world.org_admin.post(path, json=body, headers=headers)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json()[field]
    assert again.json() == first.json() | {field: None}
    revoked = await world.org_admin.post(f"{path}/{again.json()['id']}/revoke")
    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"]


@pytest.mark.parametrize(("path", "field"), DOORS)
async def test_what_pairs_confide_in_each_other_is_no_machines(
    world: World, path: str, field: str
) -> None:
    body = {"label": "Curious", "scopes": ["people:read", "content:self"]}

    answer = await world.org_admin.post(path, json=body)

    assert answer.status_code == 400
    assert field not in answer.json()
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [
        ("#/scopes/1", "not_allowed")
    ]
