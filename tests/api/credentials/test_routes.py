"""Credentials of machines and apps: shown once, changed, taking turns, ended."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey

from services.api.access.rules import Scope
from services.api.settings import ApiSettings
from shared import ids
from tests.support.apps import World, client, found_world
from tests.support.issuer import App, Signer, stored

DOORS = [("/v1/api-keys", "key"), ("/v1/oauth-clients", "client_secret")]
REDIRECT = "https://app.example.org/signed-in"


async def posted(caller: httpx.AsyncClient, path: str, body: Any, status: int = 201) -> Any:
    """Send a POST and return what it made."""
    answer = await caller.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def new_key(world: World, **values: Any) -> Any:
    """Make a key and return it with its secret."""
    body = {"label": "Nightly sync", "scopes": ["people:read"]}
    return await posted(world.org_admin, "/v1/api-keys", body | values)


async def new_client(world: World, **values: Any) -> Any:
    """Make a client and return it with its secret, if it has one."""
    body = {"label": "Nightly sync", "scopes": ["people:read", "programs:read"]}
    return await posted(world.org_admin, "/v1/oauth-clients", body | values)


async def new_app(world: World, **values: Any) -> App:
    """Register an app through the API."""
    body = {"kind": "app", "redirect_uris": [REDIRECT], "scopes": ["people:read", "admin"]}
    made = await new_client(world, **(body | values))
    return App(world, ids.parse_id("oauth_client", made["id"]))


async def rotated(world: World, path: str, row: Mapping[str, Any], **body: Any) -> Any:
    """Rotate a credential and return what takes over."""
    status = 201 if "key" in row else 200
    return await posted(world.org_admin, f"{path}/{row['id']}/rotate", body, status)


async def token(world: World, made: Mapping[str, Any], secret: str) -> httpx.Response:
    """Ask for a token with a client's secret."""
    return await client(world.app).post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(made["client_id"], secret),
    )


async def opens(world: World, credential: str) -> int:
    """Return the status that a credential gets for what it may read."""
    return (await client(world.app, credential).get("/v1/people")).status_code


async def events_of(world: World, kind: str) -> list[Mapping[str, Any]]:
    """Return the stored events of a type."""
    return await stored(
        world, "SELECT * FROM outbox_message WHERE type = :kind ORDER BY id", kind=kind
    )


def codes_of(answer: httpx.Response) -> list[tuple[str, str]]:
    """Return what is wrong where."""
    assert answer.status_code == 400, answer.text
    return [(one["pointer"], one["code"]) for one in answer.json()["errors"]]


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
    assert first.headers["Cache-Control"] == "no-store"
    assert first.json()[field]
    assert again.json() == first.json() | {field: None}
    revoked = await world.org_admin.post(f"{path}/{again.json()['id']}/revoke")
    assert revoked.status_code == 200
    assert revoked.json()["revoked_at"]


@pytest.mark.parametrize(("path", "field"), DOORS)
async def test_a_repeated_rotation_happens_once_and_shows_nothing(
    world: World, path: str, field: str
) -> None:
    made = await posted(world.org_admin, path, {"label": "Sync", "scopes": ["people:read"]})
    headers = {"Idempotency-Key": "rotation"}

    first = await world.org_admin.post(f"{path}/{made['id']}/rotate", json={}, headers=headers)
    again = await world.org_admin.post(f"{path}/{made['id']}/rotate", json={}, headers=headers)

    assert first.json()[field]
    assert again.json() == first.json() | {field: None}
    assert again.headers["ETag"] == first.headers["ETag"]


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v1/api-keys", "not_allowed"), ("/v1/oauth-clients", "not_grantable")],
)
async def test_what_pairs_confide_in_each_other_is_no_machines(
    world: World, path: str, code: str
) -> None:
    body = {"label": "Curious", "scopes": ["people:read", "content:self"]}

    answer = await world.org_admin.post(path, json=body)

    assert codes_of(answer) == [("#/scopes/1", code)]


@pytest.mark.parametrize(("path", "field"), DOORS)
async def test_what_was_made_is_where_its_location_says_without_the_secret(
    world: World, path: str, field: str
) -> None:
    made = await world.org_admin.post(path, json={"label": "Sync", "scopes": ["people:read"]})

    read = await world.org_admin.get(made.headers["Location"])

    assert read.headers["ETag"] == made.headers["ETag"]
    assert read.json() == {name: one for name, one in made.json().items() if name != field}
    foreign = await found_world(world.app)
    assert (await foreign.org_admin.get(made.headers["Location"])).status_code == 404


@pytest.mark.parametrize(("path", "field"), DOORS)
async def test_a_label_is_changed_by_who_saw_the_newest_version(
    world: World, path: str, field: str
) -> None:
    made = await posted(world.org_admin, path, {"label": "Sync", "scopes": ["people:read"]})
    assert made[field]
    place = f"{path}/{made['id']}"
    headers = {"Content-Type": "application/merge-patch+json"}

    changed = await world.org_admin.patch(
        place, json={"label": "People sync"}, headers=headers | {"If-Match": '"1"'}
    )
    stale = await world.org_admin.patch(
        place, json={"label": "Old news"}, headers=headers | {"If-Match": '"1"'}
    )

    assert (changed.status_code, changed.headers["ETag"]) == (200, '"2"')
    assert changed.json()["label"] == "People sync"
    assert stale.status_code == 412
    await posted(world.org_admin, f"{place}/revoke", {}, 200)
    late = await world.org_admin.patch(
        place, json={"label": "Too late"}, headers=headers | {"If-Match": "*"}
    )
    assert (late.status_code, late.json()["code"]) == (409, "already_ended")


async def test_a_key_takes_over_while_the_old_one_works_for_its_grace(world: World) -> None:
    ends = datetime.now(UTC) + timedelta(days=90)
    old = await new_key(world, expires_at=ends.isoformat())

    new = await rotated(world, "/v1/api-keys", old, grace_hours=24)

    assert [await opens(world, one["key"]) for one in (old, new)] == [200, 200]
    shared = ("label", "scopes")
    assert {name: new[name] for name in shared} == {name: old[name] for name in shared}
    assert new["rotated_from"] == old["id"]
    life = datetime.fromisoformat(new["expires_at"]) - datetime.fromisoformat(new["created_at"])
    assert timedelta(days=89) < life <= timedelta(days=90)
    kept = (await world.org_admin.get(f"/v1/api-keys/{old['id']}")).json()
    left = datetime.fromisoformat(kept["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


async def test_a_week_is_the_usual_grace_and_30_days_the_longest(world: World) -> None:
    key, service = await new_key(world), await new_client(world)

    await rotated(world, "/v1/api-keys", key)
    after = await rotated(world, "/v1/oauth-clients", service)

    old = (await world.org_admin.get(f"/v1/api-keys/{key['id']}")).json()
    for end in (old["expires_at"], after["previous_secret_expires_at"]):
        left = datetime.fromisoformat(end) - datetime.now(UTC)
        assert timedelta(days=6, hours=23) < left <= timedelta(days=7)
    for path, row in (("/v1/api-keys", key), ("/v1/oauth-clients", service)):
        answer = await world.org_admin.post(f"{path}/{row['id']}/rotate", json={"grace_hours": 721})
        assert codes_of(answer) == [("#/grace_hours", "out_of_range")]


async def test_a_grace_of_nothing_ends_the_old_secret_at_once(world: World) -> None:
    old, service = await new_key(world), await new_client(world)

    new = await rotated(world, "/v1/api-keys", old, grace_hours=0)
    after = await rotated(world, "/v1/oauth-clients", service, grace_hours=0)

    assert [await opens(world, one["key"]) for one in (old, new)] == [401, 200]
    answers = [await token(world, service, one["client_secret"]) for one in (service, after)]
    assert [one.status_code for one in answers] == [401, 200]


async def test_of_a_line_of_keys_two_are_live_at_most(world: World) -> None:
    first = await new_key(world)
    second = await rotated(world, "/v1/api-keys", first)

    third = await rotated(world, "/v1/api-keys", second)

    assert [await opens(world, one["key"]) for one in (first, second, third)] == [401, 200, 200]
    again = await world.org_admin.post(f"/v1/api-keys/{second['id']}/rotate", json={})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


async def test_a_key_whose_successor_was_lost_is_rotated_again(world: World) -> None:
    first = await new_key(world)
    lost = await rotated(world, "/v1/api-keys", first)
    await posted(world.org_admin, f"/v1/api-keys/{lost['id']}/revoke", {}, 200)

    found = await rotated(world, "/v1/api-keys", first)

    keys = [await opens(world, one["key"]) for one in (first, lost, found)]
    assert keys == [200, 401, 200]
    over = await world.org_admin.post(f"/v1/api-keys/{lost['id']}/rotate", json={})
    assert (over.status_code, over.json()["code"]) == (409, "already_ended")


async def test_of_several_that_rotate_a_key_at_once_one_wins(world: World) -> None:
    key = await new_key(world)

    answers = await asyncio.gather(
        *(world.org_admin.post(f"/v1/api-keys/{key['id']}/rotate", json={}) for _ in range(4))
    )

    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409]


async def test_of_three_secrets_of_a_service_the_newest_two_work(world: World) -> None:
    service = await new_client(world)
    second = await rotated(world, "/v1/oauth-clients", service)
    assert (await token(world, service, second["client_secret"])).status_code == 200
    third = await rotated(world, "/v1/oauth-clients", service)

    answers = [
        await token(world, service, one["client_secret"]) for one in (service, second, third)
    ]

    assert [one.status_code for one in answers] == [401, 200, 200]
    assert third["last_four"] == third["client_secret"][-4:]


async def test_a_secret_that_was_lost_with_its_answer_does_not_end_the_one_in_use(
    world: World,
) -> None:
    service = await new_client(world)
    lost = await rotated(world, "/v1/oauth-clients", service)
    found = await rotated(world, "/v1/oauth-clients", service, grace_hours=24)

    answers = [await token(world, service, one["client_secret"]) for one in (service, lost, found)]

    assert [one.status_code for one in answers] == [200, 401, 200]
    left = datetime.fromisoformat(found["previous_secret_expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


async def test_a_secret_whose_grace_is_over_does_not_come_back(world: World) -> None:
    service = await new_client(world)
    second = await rotated(world, "/v1/oauth-clients", service, grace_hours=0)
    third = await rotated(world, "/v1/oauth-clients", service)

    answers = [
        await token(world, service, one["client_secret"]) for one in (service, second, third)
    ]

    assert [one.status_code for one in answers] == [401, 200, 200]


async def test_revoking_a_service_ends_both_secrets_and_its_tokens(world: World) -> None:
    service = await new_client(world)
    second = await rotated(world, "/v1/oauth-clients", service)
    given = (await token(world, service, second["client_secret"])).json()["access_token"]
    assert await opens(world, given) == 200

    await posted(world.org_admin, f"/v1/oauth-clients/{service['id']}/revoke", {}, 200)

    assert await opens(world, given) == 401
    for one in (service, second):
        assert (await token(world, service, one["client_secret"])).status_code == 401
    late = await world.org_admin.post(f"/v1/oauth-clients/{service['id']}/rotate", json={})
    assert (late.status_code, late.json()["code"]) == (409, "already_ended")


async def test_a_service_that_has_expired_gets_no_token(world: World) -> None:
    ended = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    service = await new_client(world, expires_at=ended)

    assert (await token(world, service, service["client_secret"])).status_code == 401


async def test_a_machine_that_signs_has_no_secret_until_it_wants_one(world: World) -> None:
    key = ECKey.generate_key("P-256", {"kid": "2026-11"})
    public = {**key.as_dict(private=False), "kid": "2026-11", "use": "sig"}
    made = await new_client(world, jwks={"keys": [public]})
    signer = Signer(world, ids.parse_id("oauth_client", made["id"]), key)
    place = f"/v1/oauth-clients/{made['id']}"

    assert made["client_secret"] is None
    assert made["jwks"] == {"keys": [public]}
    assert (await signer.ask(signer.sign())).status_code == 200
    without = await _patched(world, place, {"jwks": None})
    assert codes_of(without) == [("#/jwks", "missing")]

    second = await rotated(world, "/v1/oauth-clients", made | {"client_secret": None})
    assert (await token(world, made, second["client_secret"])).status_code == 200
    assert (await signer.ask(signer.sign())).status_code == 200
    assert (await _patched(world, place, {"jwks": None})).status_code == 200
    assert (await signer.ask(signer.sign())).status_code == 401


async def test_a_private_key_is_never_taken(world: World) -> None:
    private = dict(ECKey.generate_key("P-256").as_dict(private=True))
    body = {"label": "Careless", "scopes": ["people:read"], "jwks": {"keys": [private]}}

    answer = await world.org_admin.post("/v1/oauth-clients", json=body)

    assert ("#/jwks/keys/0/d", "unknown_field") in codes_of(answer)
    assert str(private["d"]) not in answer.text


@pytest.mark.parametrize(
    ("values", "pointer", "code"),
    [
        (
            {"kind": "app", "redirect_uris": ["https://a.example/#x"]},
            "#/redirect_uris/0",
            "malformed",
        ),
        ({"kind": "app", "redirect_uris": ["com.example:/x"]}, "#/redirect_uris/0", "malformed"),
        (
            {"kind": "app", "redirect_uris": [f"https://a.example/{'x' * 500}"]},
            "#/redirect_uris/0",
            "too_long",
        ),
        (
            {"kind": "app", "redirect_uris": [f"https://a.example/{n}" for n in range(21)]},
            "#/redirect_uris",
            "too_long",
        ),
        ({"redirect_uris": [REDIRECT]}, "#/redirect_uris", "unexpected"),
        ({"kind": "app", "scopes": []}, "#/scopes", "too_short"),
        ({"kind": "robot"}, "#/kind", "not_allowed"),
    ],
)
async def test_a_client_that_cannot_be_is_refused_where_it_is_wrong(
    world: World, values: dict[str, Any], pointer: str, code: str
) -> None:
    body = {"label": "A client", "scopes": ["people:read"]}

    answer = await world.org_admin.post("/v1/oauth-clients", json=body | values)

    assert codes_of(answer) == [(pointer, code)]


async def test_an_app_has_no_secret_to_rotate(world: World) -> None:
    made = await new_client(world, kind="app", redirect_uris=[REDIRECT, "http://127.0.0.1/"])

    answer = await world.org_admin.post(f"/v1/oauth-clients/{made['id']}/rotate", json={})

    assert (made["client_secret"], made["last_four"]) == (None, None)
    assert made["redirect_uris"] == [REDIRECT, "http://127.0.0.1/"]
    assert answer.status_code == 409
    signing = {"jwks": {"keys": [ECKey.generate_key("P-256").as_dict(private=False)]}}
    refused = await _patched(world, f"/v1/oauth-clients/{made['id']}", signing)
    assert codes_of(refused) == [("#/jwks", "unexpected")]


async def _patched(world: World, place: str, body: Any) -> httpx.Response:
    headers = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}
    return await world.org_admin.patch(place, json=body, headers=headers)


async def test_a_scope_taken_from_an_app_is_gone_from_its_tokens_at_once(world: World) -> None:
    app = await new_app(world)
    scopes = (Scope.PEOPLE_READ, Scope.ADMIN)
    code = await app.code(world.org_admin_id, scopes=scopes)
    holder = client(world.app, (await app.redeem(code)).json()["access_token"])
    place = f"/v1/oauth-clients/{ids.format_id('oauth_client', app.id)}"
    assert (await holder.get("/v1/organization")).status_code == 200

    changed = await _patched(world, place, {"scopes": ["people:read"]})

    assert changed.json()["scopes"] == ["people:read"]
    refused = await holder.get("/v1/organization")
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert (await holder.get("/v1/people")).status_code == 200
    assert (await holder.get("/v1/me/token")).json()["scopes"] == ["people:read"]


async def test_a_scope_given_to_an_app_comes_with_the_next_sign_in_only(world: World) -> None:
    app = await new_app(world, scopes=["people:read"])
    tokens = (
        await app.redeem(await app.code(world.org_admin_id, scopes=[Scope.PEOPLE_READ]))
    ).json()
    place = f"/v1/oauth-clients/{ids.format_id('oauth_client', app.id)}"

    assert (await _patched(world, place, {"scopes": ["people:read", "admin"]})).status_code == 200

    holder = client(world.app, tokens["access_token"])
    assert (await holder.get("/v1/organization")).status_code == 403


async def narrowed(world: World, *scopes: Scope) -> World:
    """Return the world as the org admin sees it with a token of an app of these scopes."""
    app = await new_app(world, scopes=list(scopes))
    tokens = (await app.redeem(await app.code(world.org_admin_id, scopes=scopes))).json()
    holder = client(world.app, tokens["access_token"])
    return replace(world, org_admin=holder)


async def everything(world: World) -> list[Mapping[str, Any]]:
    """Return all that is stored of keys and clients, and what was told of them."""
    rows = [
        await stored(world, f"SELECT * FROM {table} ORDER BY id")  # noqa: S608
        for table in ("api_key", "oauth_client", "outbox_message")
    ]
    # When the app was used last is not what this is about.
    return [{**row, "last_used_at": None} for table in rows for row in table]


def refused_for(answer: httpx.Response) -> str:
    """Return which scopes were missing."""
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), answer.text
    detail: str = answer.json()["detail"]
    return detail.rpartition(": ")[2]


PUBLIC = {"keys": [ECKey.generate_key("P-256").as_dict(private=False)]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/api-keys", {}),
        ("/v1/oauth-clients", {"kind": "service"}),
        ("/v1/oauth-clients", {"kind": "service", "jwks": PUBLIC}),
        ("/v1/oauth-clients", {"kind": "app", "redirect_uris": [REDIRECT]}),
    ],
)
async def test_a_narrowed_token_makes_nothing_wider_than_itself(
    world: World, path: str, body: dict[str, Any]
) -> None:
    narrow = await narrowed(world, Scope.ADMIN, Scope.PEOPLE_READ)
    body = {"label": "Wide", "scopes": ["people:write", "people:read", "events:read"]} | body
    before = await everything(world)

    answer = await narrow.org_admin.post(path, json=body)

    assert refused_for(answer) == "events:read, people:write."
    assert await everything(world) == before
    made = await posted(narrow.org_admin, path, body | {"scopes": ["people:read", "admin"]})
    assert made["scopes"] == ["people:read", "admin"]


async def test_a_narrowed_token_makes_no_app_that_reads_what_pairs_confide(world: World) -> None:
    narrow = await narrowed(world, Scope.ADMIN)
    body = {"kind": "app", "label": "Curious", "scopes": ["content:self"]}

    answer = await narrow.org_admin.post("/v1/oauth-clients", json=body)

    assert refused_for(answer) == "content:self."


@pytest.mark.parametrize("path", ["/v1/api-keys", "/v1/oauth-clients"])
async def test_a_narrowed_token_gets_no_new_secret_of_what_is_wider(
    world: World, path: str
) -> None:
    wide = {"label": "Wide", "scopes": ["people:read", "people:write"]}
    made = await posted(world.org_admin, path, wide)
    fitting = await posted(world.org_admin, path, wide | {"scopes": ["people:read"]})
    narrow = await narrowed(world, Scope.ADMIN, Scope.PEOPLE_READ)
    before = await everything(world)

    answer = await narrow.org_admin.post(f"{path}/{made['id']}/rotate", json={})

    assert refused_for(answer) == "people:write."
    assert await everything(world) == before
    await rotated(narrow, path, fitting)
    await posted(narrow.org_admin, f"{path}/{made['id']}/revoke", {}, 200)


@pytest.mark.parametrize(
    ("kind", "changes", "missing"),
    [
        ("service", {"scopes": ["people:read", "people:write", "events:read"]}, "events:read."),
        ("service", {"jwks": PUBLIC}, "people:write."),
        ("service", {"jwks": PUBLIC, "scopes": ["people:read"]}, None),
        ("service", {"scopes": ["people:read", "people:write"], "label": "The same"}, None),
        ("service", {"scopes": ["people:write", "admin"]}, None),
        ("service", {"jwks": None}, None),
        ("app", {"scopes": ["people:read", "content:self"]}, "content:self."),
        ("app", {"redirect_uris": [REDIRECT, "https://evil.example/"]}, "people:write."),
        ("app", {"redirect_uris": [REDIRECT]}, None),
        ("app", {"redirect_uris": []}, None),
        ("app", {"label": "Renamed"}, None),
    ],
)
async def test_a_narrowed_token_gives_a_client_nothing_that_it_does_not_hold(
    world: World, kind: str, changes: dict[str, Any], missing: str | None
) -> None:
    redirects = [REDIRECT] if kind == "app" else []
    made = await new_client(
        world, kind=kind, scopes=["people:read", "people:write"], redirect_uris=redirects
    )
    place = f"/v1/oauth-clients/{made['id']}"
    narrow = await narrowed(world, Scope.ADMIN, Scope.PEOPLE_READ)
    before = await everything(world)

    answer = await _patched(narrow, place, changes)

    if missing is None:
        assert answer.status_code == 200, answer.text
    else:
        assert refused_for(answer) == missing
        assert await everything(world) == before
        assert (await _patched(world, place, changes)).status_code == 200


async def test_a_key_that_is_registered_already_gives_nothing_new(world: World) -> None:
    second = ECKey.generate_key("P-256").as_dict(private=False)
    both = {"keys": [*PUBLIC["keys"], second]}
    made = await new_client(world, scopes=["people:write"], jwks=both)
    narrow = await narrowed(world, Scope.ADMIN)

    answer = await _patched(narrow, f"/v1/oauth-clients/{made['id']}", {"jwks": PUBLIC})

    assert (answer.status_code, answer.json()["jwks"]) == (200, PUBLIC)


async def test_a_scope_taken_from_a_service_is_gone_from_its_tokens_at_once(world: World) -> None:
    service = await new_client(world)
    given = (await token(world, service, service["client_secret"])).json()["access_token"]
    holder = client(world.app, given)
    assert (await holder.get("/v1/programs")).status_code == 200

    await _patched(world, f"/v1/oauth-clients/{service['id']}", {"scopes": ["people:read"]})

    assert (await holder.get("/v1/programs")).status_code == 403
    assert (await holder.get("/v1/people")).status_code == 200


async def test_revoking_an_app_ends_everybodys_tokens_at_it(world: World) -> None:
    app = await new_app(world)
    tokens = await app.redeem(await app.code(world.org_admin_id, scopes=[Scope.PEOPLE_READ]))
    given = tokens.json()
    name = ids.format_id("oauth_client", app.id)
    assert await opens(world, given["access_token"]) == 200

    await posted(world.org_admin, f"/v1/oauth-clients/{name}/revoke", {}, 200)

    refused = await client(world.app, given["access_token"]).get("/v1/people")
    assert (refused.status_code, refused.json()["code"]) == (401, "key_revoked")
    assert (await app.refresh(given["refresh_token"])).status_code == 401


async def test_every_step_of_a_credential_is_an_event_without_its_secrets(world: World) -> None:
    key, service = await new_key(world), await new_client(world)
    after = [await rotated(world, "/v1/api-keys", key)]
    after.append(await rotated(world, "/v1/oauth-clients", service))
    await _patched(world, f"/v1/api-keys/{key['id']}", {"label": "Renamed"})
    await _patched(world, f"/v1/oauth-clients/{service['id']}", {"label": "Renamed"})
    await posted(world.org_admin, f"/v1/api-keys/{key['id']}/revoke", {}, 200)
    await posted(world.org_admin, f"/v1/oauth-clients/{service['id']}/revoke", {}, 200)

    found = await world.org_admin.get("/v1/events?limit=200")

    told = [one for one in found.json()["items"] if one["type"].startswith(("api_key", "oauth_"))]
    for kind in ("api_key", "oauth_client"):
        steps = [one["type"] for one in told if one["type"].startswith(kind)]
        assert steps == [f"{kind}.{step}" for step in ("created", "rotated", "changed", "revoked")]
    by_type = {one["type"]: one["data"] for one in told}
    assert by_type["api_key.rotated"]["ids"] == {"rotated_from": key["id"]}
    assert by_type["oauth_client.changed"]["changed"] == ["label"]
    for secret in (key["key"], service["client_secret"], "Renamed", "Nightly sync"):
        assert secret not in found.text


async def test_a_persons_token_tells_who_they_are_and_where(world: World) -> None:
    settings: ApiSettings = world.app.state.resources.settings
    app = await new_app(world, label="Front end")
    signed_in = datetime.now(UTC) - timedelta(hours=2)
    code = await app.code(world.org_admin_id, scopes=[Scope.PEOPLE_READ], signed_in_at=signed_in)
    given = (await app.redeem(code)).json()["access_token"]

    answer = await client(world.app, given).get("/v1/me/token")

    told = answer.json()
    issued, expires = (datetime.fromisoformat(told.pop(n)) for n in ("issued_at", "expires_at"))
    assert expires - issued == timedelta(minutes=10)
    assert abs(datetime.fromisoformat(told.pop("authenticated_at")) - signed_in) < timedelta(
        seconds=1
    )
    assert told == {
        "kind": "person_token",
        "organization_id": world.organization_id,
        "organization_name": "Example Works",
        "organization_slug": world.slug,
        "environment": "production",
        "is_demo": False,
        "person_id": world.org_admin_id,
        "client_id": app.name,
        "api_key_id": None,
        "label": "Front end",
        "connection_id": None,
        "scopes": ["people:read"],
        "limits": {
            "requests_per_minute": settings.rate_limit,
            "organization_requests_per_minute": settings.organization_rate_limit,
        },
    }


async def test_machines_tell_which_they_are(world: World) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    key = await new_key(world, expires_at=ends.isoformat())
    service = await new_client(world)
    given = (await token(world, service, service["client_secret"])).json()["access_token"]

    by_key = (await client(world.app, key["key"]).get("/v1/me/token")).json()
    by_token = (await client(world.app, given).get("/v1/me/token")).json()

    same = ("person_id", "authenticated_at", "connection_id")
    assert [one[name] for one in (by_key, by_token) for name in same] == [None] * 6
    assert (by_key["kind"], by_key["api_key_id"]) == ("api_key", key["id"])
    assert (by_key["client_id"], by_key["label"]) == (None, "Nightly sync")
    assert datetime.fromisoformat(by_key["expires_at"]) == ends
    assert by_key["scopes"] == ["people:read"]
    assert (by_token["kind"], by_token["api_key_id"]) == ("client_token", None)
    assert by_token["client_id"] == service["client_id"]
    assert by_token["scopes"] == ["people:read", "programs:read"]


async def test_a_developers_token_in_a_sandbox_says_so(world: World) -> None:
    sandbox = await found_world(world.app, kind="sandbox")

    told = (await sandbox.org_admin.get("/v1/me/token")).json()

    assert (told["environment"], told["kind"]) == ("sandbox", "person_token")
    assert (told["client_id"], told["label"]) == (None, None)


async def test_a_secret_lives_in_real_time_whatever_the_sandbox_says(world: World) -> None:
    sandbox = await found_world(world.app, kind="sandbox")
    moved = await sandbox.org_admin.post(
        "/v1/sandbox/clock/advance",
        json={"days": 60},
        headers={"Idempotency-Key": secrets.token_hex(8)},
    )
    assert moved.status_code == 202, moved.text

    service = await new_client(sandbox)
    after = await rotated(sandbox, "/v1/oauth-clients", service, grace_hours=1)

    end = datetime.fromisoformat(after["previous_secret_expires_at"])
    assert end - datetime.now(UTC) <= timedelta(hours=1)


@pytest.mark.parametrize("path", ["/v1/api-keys", "/v1/role-assignments"])
async def test_nothing_is_made_that_has_ended_already(world: World, path: str) -> None:
    body = {
        "/v1/api-keys": {"label": "Too late", "scopes": ["people:read"]},
        "/v1/role-assignments": {
            "person_id": (await world.add_person())["id"],
            "role": "safeguarding",
        },
    }[path]
    moment = datetime.now(UTC)

    refused = await posted(
        world.org_admin,
        path,
        {**body, "expires_at": (moment - timedelta(minutes=1)).isoformat()},
        400,
    )
    made = await posted(
        world.org_admin, path, {**body, "expires_at": (moment + timedelta(hours=1)).isoformat()}
    )

    assert [(one["pointer"], one["code"]) for one in refused["errors"]] == [
        ("#/expires_at", "out_of_range")
    ]
    assert made["expires_at"] > moment.isoformat()
