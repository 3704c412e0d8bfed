"""What is written down: who may do what, and a valid request of each operation."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.access.bodies import ASKERS, BODIES, QUERIES, STAND_INS
from tests.support.access import PRINCIPALS, Operation, Organization, example

ROWS = Path(__file__).parent / "rows"


@cache
def expected_rows() -> dict[str, dict[str, str]]:
    """Return the written expectation of each operation, by who asks."""
    rows: dict[str, dict[str, str]] = {}
    for file in sorted(ROWS.glob("*.txt")):
        head, *lines = [line for line in file.read_text().splitlines() if line.strip()]
        assert tuple(head.split()[1:]) == PRINCIPALS, f"{file.name} does not name everybody"
        for line in lines:
            operation, *cells = line.split()
            assert operation not in rows, f"{operation} has two rows"
            rows[operation] = dict(zip(PRINCIPALS, cells, strict=True))
    return rows


def body_of(operation: Operation, known: Mapping[str, str]) -> Any:
    """Return a body that the operation takes."""
    if operation.body is None:
        return None
    if operation.id in BODIES:
        return BODIES[operation.id](known)
    return example(operation.body, known)


def query_of(operation: Operation, known: Mapping[str, str]) -> Mapping[str, str]:
    """Return the parameters that the operation cannot do without."""
    return QUERIES[operation.id](known) if operation.id in QUERIES else {}


def somebody_let_in(operation: Operation) -> str:
    """Return who may do this, so that only the ids in the request can be refused."""
    if operation.id in ASKERS:
        return ASKERS[operation.id]
    cells = expected_rows().get(operation.id, {})
    for cell in ("ok", "404"):
        for name in PRINCIPALS:
            if cells.get(name) == cell and name != "foreign_admin":
                return name
    return "org_admin"


def known_to(operation: Operation, organization: Organization) -> Mapping[str, str]:
    """Return the ids an operation is about; some need things in another state than most."""
    renamed = STAND_INS.get(operation.id, {})
    return organization.ids | {kind: organization.ids[name] for kind, name in renamed.items()}
