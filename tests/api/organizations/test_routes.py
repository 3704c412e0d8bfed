"""The organization's own settings: who reads them, who changes them, and what is refused."""

from typing import Any

import pytest

from tests.support.apps import World

PATCH = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}


async def test_an_org_admin_decides_how_codes_by_mail_are_taken(world: World) -> None:
    before = (await world.org_admin.get("/v1/organization")).json()
    assert before["email_codes"] == "automatic"

    changed = await world.org_admin.patch(
        "/v1/organization", json={"email_codes": "on"}, headers=PATCH
    )

    assert changed.status_code == 200, changed.text
    assert changed.json()["email_codes"] == "on"
    assert changed.json()["version"] == before["version"] + 1
    assert (await world.org_admin.get("/v1/organization")).json() == changed.json()


@pytest.mark.parametrize("value", ["off", "", "ON", None, True, 1, ["on"], {}])
async def test_codes_by_mail_are_automatic_or_on(world: World, value: Any) -> None:
    answer = await world.org_admin.patch(
        "/v1/organization", json={"email_codes": value}, headers=PATCH
    )

    assert answer.status_code == 400, answer.text
    assert {one["pointer"] for one in answer.json()["errors"]} == {"#/email_codes"}


async def test_an_employee_does_not_open_another_way_in(world: World) -> None:
    employee = await world.as_person((await world.add_person())["id"])

    answer = await employee.patch("/v1/organization", json={"email_codes": "on"}, headers=PATCH)

    assert answer.status_code == 403
    assert (await world.org_admin.get("/v1/organization")).json()["email_codes"] == "automatic"
