"""Mappings over HTTP: stored in versions, tried out before use, never of refused columns."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.apps import World
from tests.support.imports import mapping
from tests.support.programs import post

EXAMPLES = Path(__file__).parents[4] / "examples"
PATCH = {"Content-Type": "application/merge-patch+json", "If-Match": "*"}


async def refused(world: World, document: dict[str, Any]) -> list[tuple[str, str]]:
    answer = await world.org_admin.post("/v1/mappings", json={"name": "HR", "document": document})
    assert answer.status_code == 400, answer.text
    return [(one["pointer"], one["code"]) for one in answer.json()["errors"]]


async def test_a_new_document_is_a_new_version(world: World) -> None:
    made = await post(world.org_admin, "/v1/mappings", {"name": "HR", "document": mapping()})
    path = f"/v1/mappings/{made['id']}"

    renamed = await world.org_admin.patch(path, json={"name": "HR weekly"}, headers=PATCH)
    changed = await world.org_admin.patch(
        path, json={"document": mapping(leavers="skip")}, headers=PATCH
    )

    assert (made["mapping_version"], renamed.json()["mapping_version"]) == (1, 1)
    assert changed.json()["mapping_version"] == 2
    assert changed.json()["name"] == "HR weekly"
    assert changed.json()["document"]["leavers"] == "skip"
    assert (await world.org_admin.get(path)).json() == changed.json()
    assert (await world.org_admin.get("/v1/mappings")).json()["items"] == [changed.json()]


async def test_what_is_answered_can_be_sent_again(world: World) -> None:
    made = await post(world.org_admin, "/v1/mappings", {"name": "HR", "document": mapping()})

    again = await post(
        world.org_admin, "/v1/mappings", {"name": "Copy", "document": made["document"]}
    )

    assert again["document"] == made["document"]


@pytest.mark.parametrize("column", ["Salary", "date_of_birth", "RaceDesc", "Sick Days"])
async def test_a_mapping_cannot_read_what_is_refused(world: World, column: str) -> None:
    document = mapping()
    document["fields"]["grade"] = {"columns": [column]}

    assert await refused(world, document) == [("#/document", "refused_column")]


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"columns": ["a"], "template": "{email}"},
        {"columns": ["a", "b"]},
        {"columns": ["a"], "steps": [{"do": "trim"}, {"do": "concat"}]},
        {"template": "{password}"},
        {"template": "{id.__class__.__mro__}@x.org"},
        {"template": "{employee_number.__class__}"},
        {"template": "{employee_number!r}"},
        {"template": "{employee_number:>9999}"},
        {"template": "{employee_number[0]}"},
        {"template": "{{employee_number}}"},
        {"template": "{"},
        {"template": "}"},
        {"template": "{}"},
        {"template": "{0}"},
        {"template": "{employee_number"},
        {"columns": ["a"], "steps": [{"do": "eval", "code": "1"}]},
        {"columns": ["a"], "steps": [{"do": "split", "on": "", "take": 1}]},
        {"columns": ["a"], "steps": [{"do": "date", "format": "M/D/YY"}]},
    ],
)
async def test_a_rule_that_makes_no_sense_is_refused(world: World, rule: dict[str, Any]) -> None:
    document = mapping()
    document["fields"]["grade"] = rule

    ((pointer, _code), *_more) = await refused(world, document)

    assert pointer.startswith("#/document/fields/grade")


@pytest.mark.parametrize("others", [{}, {"title": {"template": "{grade}"}}])
async def test_a_template_asks_for_no_other_template(world: World, others: dict[str, Any]) -> None:
    document = mapping()
    document["fields"] |= {"grade": {"template": "{title}" if others else "{grade}"}, **others}

    ((pointer, _code),) = await refused(world, document)

    assert pointer == "#/document/fields"


async def test_a_status_is_looked_up_as_one_that_exists(world: World) -> None:
    document = mapping()
    document["fields"]["status"] = {
        "columns": ["status"],
        "steps": [{"do": "lookup", "table": {"x": "retired"}}],
    }

    assert await refused(world, document) == [("#/document", "inconsistent")]


async def test_spaces_that_separate_are_kept(world: World) -> None:
    document = mapping()
    document["fields"]["title"] = {
        "columns": ["a", "b"],
        "steps": [{"do": "concat", "with": " "}, {"do": "split", "on": " ", "take": 1}],
    }

    made = await post(world.org_admin, "/v1/mappings", {"name": "HR", "document": document})

    steps = made["document"]["fields"]["title"]["steps"]
    assert (steps[0]["with"], steps[1]["on"]) == (" ", " ")


async def test_names_are_unique(world: World) -> None:
    made = await post(world.org_admin, "/v1/mappings", {"name": "HR", "document": mapping()})
    again = {"name": "HR", "document": mapping()}

    answers = [
        await world.org_admin.post("/v1/mappings", json=again),
        await world.org_admin.post("/v1/mappings", json=again | {"name": "N", "id": made["id"]}),
    ]

    assert {one.json()["code"] for one in answers} == {"already_exists"}


async def test_a_preview_reads_rows_as_an_import_would(world: World) -> None:
    made = await post(world.org_admin, "/v1/mappings", {"name": "HR", "document": mapping()})

    preview = await post(
        world.org_admin,
        f"/v1/mappings/{made['id']}/preview",
        {
            "header": ["id", "first", "last", "mail", "left", "DOB"],
            "rows": [
                ["1", "Ada", "L", "ada@example.org", "", "1815"],
                ["", "B", "C", "no", "3/4/2020", ""],
                ["2"],
            ],
        },
    )

    first, second, third = preview["rows"]
    assert (first["line"], first["external_id"], first["errors"]) == (2, "1", [])
    assert first["values"]["email"] == "ada@example.org"
    assert [(one["column"], one["code"]) for one in second["errors"]] == [
        ("id", "missing_id"),
        ("left", "ambiguous_date"),
        ("mail", "wrong_value"),
    ]
    assert third["errors"][0]["code"] == "wrong_field_count"
    assert [(one["column"], one["reason"]) for one in preview["ignored_columns"]] == [
        ("DOB", "refused")
    ]
    assert "1815" not in json.dumps(preview)


async def test_a_suggestion_can_be_stored_once_completed(world: World) -> None:
    suggested = await post(
        world.org_admin,
        "/v1/mapping-suggestions",
        {"header": ["Employee ID", "First Name", "Last Name", "Email", "Salary", "Shoe"]},
    )

    assert {one["column"]: one["reason"] for one in suggested["ignored_columns"]} == {
        "Salary": "refused",
        "Shoe": "not_mapped",
    }
    made = await post(
        world.org_admin, "/v1/mappings", {"name": "HR", "document": suggested["document"]}
    )
    assert made["document"]["key"] == {"column": "Employee ID"}


@pytest.mark.parametrize("name", ["people-mapping.json", "hr-export/mapping.json"])
async def test_the_examples_are_mappings(world: World, name: str) -> None:
    document = json.loads((EXAMPLES / name).read_text())

    made = await post(world.org_admin, "/v1/mappings", {"name": name, "document": document})

    assert made["document"]["key"] == document["key"]
