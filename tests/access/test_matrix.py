"""Every operation, asked by everybody: the answers stand in `rows`, one file per feature.

A cell is `ok` where the door and the rules let somebody in, whatever the state then says; 401, 403
and 404 are denials; 400 is a reference that the asker may not use. An operation without a row
fails, and the failure shows what was seen, to be judged and written down.
"""

from collections.abc import Mapping
from contextlib import nullcontext

import pytest

from services.api.access import roles
from services.api.access.roles import Role
from tests.access.expected import body_of, expected_rows, known_to, query_of
from tests.support.access import (
    PRINCIPALS,
    Operation,
    Organization,
    send,
    undone,
)

NOT_LET_IN = {400, 401, 403, 404, 405, 500}


def line_of(operation: str, cells: Mapping[str, str]) -> str:
    """Return a row as it stands in the files."""
    widths = {name: len(name) for name in PRINCIPALS}
    return f"{operation:<28} " + " ".join(f"{cells[name]:<{widths[name]}}" for name in PRINCIPALS)


async def seen(operation: Operation, ours: Organization) -> dict[str, str]:
    """Return what everybody is answered."""
    known = known_to(operation, ours)
    body, query = body_of(operation, known), query_of(operation, known)
    cells = {}
    for name in PRINCIPALS:
        async with undone(ours.world.app) if operation.method != "GET" else nullcontext():
            answer = await send(ours.callers[name], operation, known, body=body, query=query)
        cells[name] = str(answer.status_code) if answer.status_code in NOT_LET_IN else "ok"
    return cells


async def test_everybody_is_let_in_or_refused_as_written(
    operations: list[Operation], ours: Organization
) -> None:
    expected = expected_rows()
    wrong = []
    for operation in operations:
        cells = await seen(operation, ours)
        if expected.get(operation.id) != cells:
            wrong.append(f"[{operation.tag}] {line_of(operation.id, cells)}")

    assert not wrong, "\n".join(["not as written:", *wrong])


def test_no_row_is_about_an_operation_that_is_gone(operations: list[Operation]) -> None:
    assert set(expected_rows()) <= {operation.id for operation in operations}


def test_nobody_without_a_credential_is_let_in() -> None:
    for operation, cells in expected_rows().items():
        assert (cells["anonymous"], cells["deactivated"]) == ("401", "401"), operation


async def test_a_permission_that_is_too_wide_is_seen(
    operations: list[Operation], ours: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The matrix would be worth nothing if it could not see a hole."""
    wider = roles.PERMISSIONS["program.change"] | {Role.ORG_ADMIN}
    monkeypatch.setattr(roles, "PERMISSIONS", {**roles.PERMISSIONS, "program.change": wider})
    operation = next(one for one in operations if one.id == "publish_program")

    cells = await seen(operation, ours)

    assert cells != expected_rows()["publish_program"]
    assert cells["org_admin"] == "ok"
