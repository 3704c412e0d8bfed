"""Documents that are made from the code: the OpenAPI document, and marked regions of `docs/`.

`./dev docs` writes them, `./dev test` compares. A region lies between `<!-- generated: NAME -->`
and `<!-- end -->`; what stands outside of the marks is written by hand.
"""

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from services.api.access import roles
from services.api.dependencies import CheckedRoute
from services.api.events.rules import EVENT_TYPES
from services.api.main import PRODUCT, create_public
from services.api.match_runs import rules as match_runs
from services.api.meetings import rules as meetings
from services.api.mentorships import rules as mentorships
from services.api.participants import rules as participants
from services.api.programs import rules as programs
from services.api.proposals import rules as proposals
from shared.settings import ServiceSettings
from shared.web import codes
from shared.web.openapi import describe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REGION = re.compile(r"(<!-- generated: ([a-z_]+) -->\n).*?(<!-- end -->)", re.DOTALL)

type Transitions = Mapping[tuple[Any, Any], Any]

MACHINES: Mapping[str, Transitions] = {
    "Program": programs.TRANSITIONS,
    "Participant": participants.TRANSITIONS,
    "Match run": match_runs.TRANSITIONS,
    "Proposal": proposals.TRANSITIONS,
    "Mentorship": mentorships.TRANSITIONS,
    "Meeting": meetings.TRANSITIONS,
}
SETTINGS: Mapping[str, str] = {
    "api": "services.api.settings:ApiSettings",
    "matching": "services.matching.settings:MatchingSettings",
    "notifications": "services.notifications.settings:NotificationsSettings",
}


def states() -> Iterator[str]:
    """Draw every lifecycle from its transition table."""
    for name, transitions in MACHINES.items():
        yield f"### {name}\n\n```mermaid\nstateDiagram-v2\n"
        reached = set(transitions.values())
        left = {before for before, _action in transitions}
        for state in sorted(left - reached):
            yield f"    [*] --> {state}\n"
        for (before, action), after in transitions.items():
            yield f"    {before} --> {after}: {action}\n"
        for state in sorted(reached - left):
            yield f"    {state} --> [*]\n"
        yield "```\n\n"


def formats() -> Iterator[str]:
    """List what each format of a track allows."""
    yield "| format | roles | matched by | minutes | members |\n|---|---|---|---|---|\n"
    for name, rules in programs.FORMATS.items():
        yield (
            f"| `{name}` | {_words(rules.roles)} | {_words(rules.modes)}"
            f" | {_span(rules.minutes)} | {_span(rules.members)} |\n"
        )


def events() -> Iterator[str]:
    """List every type of event and the ids it names."""
    yield "| type | when | names |\n|---|---|---|\n"
    for name, kind in EVENT_TYPES.items():
        yield f"| `{name}` | {kind.description} | {_words(kind.ids)} |\n"


def permissions() -> Iterator[str]:
    """List who is granted what."""
    yield "| permission | granted to |\n|---|---|\n"
    for name, granted in sorted(roles.PERMISSIONS.items()):
        yield f"| `{name}` | {_words(granted)} |\n"


def settings() -> Iterator[str]:
    """List what each service is told by its environment."""
    common = set(ServiceSettings.model_fields)
    yield from _settings("Every service", ServiceSettings, set())
    for name, place in SETTINGS.items():
        module, _, cls = place.partition(":")
        yield from _settings(name, getattr(importlib.import_module(module), cls), common)


def _settings(title: str, cls: type[ServiceSettings], left_out: set[str]) -> Iterator[str]:
    yield f"### {title}\n\n| variable | usually | what it says |\n|---|---|---|\n"
    for name, field in cls.model_fields.items():
        if name not in left_out:
            yield f"| `MENTORING_{name.upper()}` | {_usual(field)} | {field.description} |\n"
    yield "\n"


def _usual(field: Any) -> str:
    if field.is_required():
        return "must be given"
    value = field.default
    if value is PydanticUndefined or value is None or value == "":
        return "not set"
    if isinstance(value, SecretStr):
        return "secret"
    return f"`{value.value if isinstance(value, StrEnum) else value}`"


def _words(values: Any) -> str:
    return ", ".join(f"`{value}`" for value in sorted(map(str, values)))


def _span(bounds: tuple[int, int]) -> str:
    return str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]} to {bounds[1]}"


def openapi() -> str:
    """Return the OpenAPI document of the public API."""
    public = create_public()
    for route in public.routes:
        if isinstance(route, CheckedRoute):
            route.describe_answer()
    document = describe(public, PRODUCT)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


REGIONS: Mapping[str, Callable[[], Iterator[str]]] = {
    "states": states,
    "formats": formats,
    "events": events,
    "permissions": permissions,
    "settings": settings,
}


def made() -> Iterator[tuple[Path, str]]:
    """Yield every document with what it should hold."""
    yield ROOT / "services" / "api" / "openapi.json", openapi()
    yield DOCS / "errors.md", codes.page()
    for file in sorted(DOCS.glob("*.md")):
        yield file, REGION.sub(_filled, file.read_text())


def _filled(match: re.Match[str]) -> str:
    text = "".join(REGIONS[match.group(2)]()).rstrip()
    return f"{match.group(1)}\n{text}\n\n{match.group(3)}"


def write() -> None:
    """Bring every document up to date."""
    for file, content in made():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def outdated() -> list[str]:
    """Return the documents that no longer say what the code does."""
    return [
        str(file.relative_to(ROOT))
        for file, content in made()
        if not file.exists() or file.read_text() != content
    ]


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        stale = outdated()
        for name in stale:
            print(f"{name} is out of date: ./dev docs")  # noqa: T201 - for people
        sys.exit(len(stale))
    write()
