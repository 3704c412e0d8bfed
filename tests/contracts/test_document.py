"""The published document, and the codes that answers carry, against the code that makes them."""

import ast
import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from openapi_spec_validator import validate

from shared.web import codes, problems
from shared.web.openapi import operations
from tests.support.document import published

ROOT = Path(__file__).parents[2]


def sources() -> list[ast.Module]:
    """Return what the api is made of."""
    files = [*(ROOT / "services" / "api").rglob("*.py"), *(ROOT / "shared").rglob("*.py")]
    return [ast.parse(file.read_text(encoding="utf-8")) for file in files]


def raised_codes() -> set[str]:
    """Return every code that is named where something is refused."""
    found = set(problems.CODE_OF_STATUS.values())
    found |= {code for _status, code, _detail in problems.CONSTRAINTS.values()}
    for tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _refuses(node):
                for keyword in node.keywords:
                    if keyword.arg in {"code", "unavailable_code"}:
                        found |= _texts(keyword.value)
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                found |= _defaults(node)
    return found


def _refuses(node: ast.Call) -> bool:
    name = ast.unparse(node.func).rpartition(".")[2]
    return name.endswith("Error") or name in {"problem", "refuse", "ServiceClient"}


def _texts(node: ast.expr) -> set[str]:
    return {
        one.value
        for one in ([node.body, node.orelse] if isinstance(node, ast.IfExp) else [node])
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    }


def _defaults(node: ast.ClassDef) -> set[str]:
    return {
        text
        for line in node.body
        if isinstance(line, ast.Assign | ast.AnnAssign)
        and line.value is not None
        and "code" in ast.unparse(line).split("=")[0]
        for text in _texts(line.value)
    }


def test_the_document_is_valid(api: FastAPI) -> None:
    validate(published(api))


def test_no_marks_of_the_framework_are_left(api: FastAPI) -> None:
    text = json.dumps(published(api))
    assert "HTTPValidationError" not in text
    assert '"default": null' not in text
    for path, method, operation in operations(published(api)):
        assert "422" not in operation["responses"], (path, method)
        assert operation["summary"], (path, method)
        assert operation["description"], (path, method)
        assert operation["x-access"]["permission"], (path, method)


def test_every_operation_publishes_its_refusals_as_problems(api: FastAPI) -> None:
    document = published(api)
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if status[0] in "45d":
                name = response["$ref"].rpartition("/")[2]
                shared = document["components"]["responses"][name]
                assert set(shared["content"]) == {problems.MEDIA_TYPE}, (path, method, status)


def test_what_is_read_says_where_a_rule_may_say_no(api: FastAPI) -> None:
    declared = {
        path
        for path, method, operation in operations(published(api))
        if method == "get" and "409" in operation["responses"]
    }

    assert declared == {
        "/match-runs/{run_id}/explanations",
        "/match-runs/{run_id}/fairness",
        "/participants/{participant_id}/suggestions",
        "/sandbox/clock",
        "/sandbox/messages",
    }


def test_a_change_requires_its_version_unless_it_may_create(api: FastAPI) -> None:
    required = {}
    for path, method, operation in operations(published(api)):
        given = {one["name"]: one.get("required", False) for one in operation.get("parameters", ())}
        if "If-Match" in given:
            required[method, path] = given["If-Match"]
            may_create = method == "put" and "If-None-Match" in given
            is_step = method == "post"
            assert given["If-Match"] is not (may_create or is_step), (method, path)

    assert not required["put", "/participants/{participant_id}/preferences"]
    assert required["patch", "/participants/{participant_id}"]
    assert not required["post", "/proposals/{proposal_id}/approve"]


def test_every_string_list_and_number_is_bounded(api: FastAPI) -> None:
    unbounded = list(_unbounded(published(api)["components"]["schemas"], "schemas"))
    assert unbounded == []


def _unbounded(node: Any, place: str) -> list[str]:
    if isinstance(node, list):
        return [one for item in node for one in _unbounded(item, place)]
    if not isinstance(node, dict):
        return []
    found = [one for key, item in node.items() for one in _unbounded(item, f"{place}/{key}")]
    kind = node.get("type")
    if kind == "array" and "maxItems" not in node:
        found.append(place)
    if (
        kind == "string"
        and not {"maxLength", "enum", "const", "format", "contentMediaType"} & node.keys()
    ):
        found.append(place)
    if kind in ("number", "integer") and not {"format", "minimum", "maximum"} <= node.keys():
        found.append(place)
    return found


def test_any_seed_that_can_be_asked_for_can_be_answered(api: FastAPI) -> None:
    seeds = {
        name: kind
        for name, schema in published(api)["components"]["schemas"].items()
        for kind in _kinds(schema.get("properties", {}).get("seed", {}))
        if kind.get("type") == "integer"
    }
    assert {"RunCreate", "RunView", "ComparedRunView"} <= seeds.keys()
    assert {kind["maximum"] for kind in seeds.values()} == {2_147_483_647}


def _kinds(schema: dict[str, Any]) -> list[dict[str, Any]]:
    kinds: list[dict[str, Any]] = schema.get("anyOf", [schema])
    return kinds


def test_every_raised_code_is_documented() -> None:
    assert raised_codes() - codes.CODES.keys() == set()


def test_every_code_speaks_both_languages() -> None:
    for code, one in codes.CODES.items():
        assert one.en, code
        assert one.de, code
        assert one.advice, code
        assert one.status in codes.FAMILIES, code


def test_every_code_of_a_broken_rule_has_words() -> None:
    assert set(problems.CODE_OF_RULE.values()) <= codes.VIOLATIONS.keys()
