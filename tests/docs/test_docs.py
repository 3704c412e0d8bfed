"""What the documents say exists, exists."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from services import documents
from services.api.access.roles import PERMISSIONS, Role
from services.api.events.rules import EVENT_TYPES
from services.api.settings import ApiSettings
from services.cli import app
from services.matching.settings import MatchingSettings
from services.notifications.settings import NotificationsSettings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    file
    for pattern in ("*.md", "docs/*.md", "docs/adr/*.md", "examples/**/*.md")
    for file in ROOT.glob(pattern)
)
RECORDS = sorted((ROOT / "docs" / "adr").glob("*.md"))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
API: dict[str, Any] = json.loads((ROOT / "docs" / "openapi" / "api.json").read_text())
# Named in documents though no setting of a service carries them.
OTHER_VARIABLES = {
    *("MENTORING_STATE", "MENTORING_HEARTBEAT_FILE", "MENTORING_LISTEN_FD", "MENTORING_SMTP_FD"),
}


def named(pattern: str, page: Path) -> set[str]:
    """Return what a page names by a pattern."""
    return set(re.findall(pattern, page.read_text()))


def test_generated_documents_are_up_to_date() -> None:
    assert documents.outdated() == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda file: file.stem)
def test_a_record_names_what_enforces_it(record: Path) -> None:
    last = record.read_text().strip().splitlines()[-1]
    contracts = {one["name"] for one in PROJECT["tool"]["importlinter"]["contracts"]}

    assert last.startswith("Enforced by: ")
    for path in re.findall(r"`([^`]+)`", last):
        assert list(ROOT.glob(path)), path
    assert set(re.findall(r"\*([^*`]+)\*", last)) <= contracts


@pytest.mark.parametrize("page", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = named(r"\]\((?!https?:)([^)#]+)", page)

    assert [link for link in sorted(links) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]  # typer made a group

    assert named(r"(?:\./dev|`mentoring) ([a-z][a-z-]+)", page) - commands == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_variables_exist(page: Path) -> None:
    known = OTHER_VARIABLES | {
        f"MENTORING_{name.upper()}"
        for settings in (ApiSettings, MatchingSettings, NotificationsSettings)
        for name in settings.model_fields
    }

    assert named(r"\bMENTORING_[A-Z_]+\b", page) - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_paths_of_the_api_exist(page: Path) -> None:
    def shape(path: str) -> str:
        return re.sub(r"\{[^}]*\}", "{}", path)

    known = {shape(path) for path in API["paths"]} | {"/docs", "/openapi.json", "/redoc"}
    found = {
        shape(path).rstrip(".,")
        for path in named(r"(?:GET|POST|PUT|PATCH|DELETE) /v1(/[a-z0-9{}_/.-]+)", page)
    }

    assert found - known == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_event_types_exist(page: Path) -> None:
    resources = "|".join(sorted({kind.resource for kind in EVENT_TYPES.values()}))

    found = named(rf"`((?:{resources})\.[a-z_]+)`", page)
    permissions = named(r"\| `([a-z_]+\.[a-z_]+)` \| `", page)
    assert {one for one in found if not one.endswith((".py", ".md"))} - set(
        EVENT_TYPES
    ) - permissions == set()


def test_what_asks_for_admin_is_open_to_no_machine() -> None:
    """As docs/credentials.md says of API keys and services."""
    doors = [
        door["x-access"]
        for path in API["paths"].values()
        for door in path.values()
        if isinstance(door, dict) and door.get("x-access", {}).get("scope") == "admin"
    ]

    assert doors
    assert {
        one["permission"] for one in doors if Role.SERVICE in PERMISSIONS[one["permission"]]
    } == set()
