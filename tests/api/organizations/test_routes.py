"""The organization's own settings: who reads them, who changes them, and what is refused."""

from typing import Any

import pytest

from services.api.organizations import rules
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


LEARNING = {
    "key": "machine_learning",
    "label": {"en": "Machine learning", "de": "Maschinelles Lernen"},
    "synonyms": ["ML"],
}
LAW = {"key": "law", "label": {"en": "Law"}, "synonyms": ["Legal"]}


async def test_an_org_admin_says_which_words_mean_one_skill(world: World) -> None:
    before = (await world.org_admin.get("/v1/organization")).json()

    changed = await world.org_admin.patch(
        "/v1/organization", json={"skills": [LEARNING, LAW]}, headers=PATCH
    )

    assert changed.status_code == 200, changed.text
    assert before["skills"] == []
    assert changed.json()["skills"] == [LEARNING, LAW]
    assert (await world.org_admin.get("/v1/organization")).json() == changed.json()


@pytest.mark.parametrize(
    ("skills", "pointer", "code"),
    [
        ([LAW, LAW], "#/skills/1", "not_unique"),
        ([LEARNING, {**LAW, "synonyms": ["ml"]}], "#/skills/1", "not_unique"),
        ([{**LAW, "label": {}}], "#/skills/0/label", "too_short"),
        ([{**LAW, "key": "Law"}], "#/skills/0/key", "malformed"),
        ([{"key": "law"}], "#/skills/0/label", "missing"),
    ],
)
async def test_a_word_means_one_skill(
    world: World, skills: list[Any], pointer: str, code: str
) -> None:
    answer = await world.org_admin.patch("/v1/organization", json={"skills": skills}, headers=PATCH)

    assert answer.status_code == 400, answer.text
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]


def test_words_of_a_skill_begin_with_its_label_in_the_usual_language() -> None:
    spoken = ["Maschinelles Lernen", "Machine learning", "machine_learning", "ML"]

    assert rules.words_of(LEARNING, locale="de") == spoken
    assert rules.words_of(LEARNING, locale="en")[:2] == ["Machine learning", "Maschinelles Lernen"]
    assert rules.words_of(LEARNING, locale="fr")[0] == "Maschinelles Lernen"
    assert rules.synonyms([LAW, {**LAW, "synonyms": []}], locale="en") == [["Law", "Legal"]]
