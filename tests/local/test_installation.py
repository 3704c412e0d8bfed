"""What a local installation tells its services."""

from pathlib import Path

import pytest

from services.local.installation import Addresses, Installation

WHERE = Addresses(
    api="http://127.0.0.1:1",
    matching="http://127.0.0.1:2",
    notifications="http://127.0.0.1:3",
    mail_host="127.0.0.1",
    mail_port=4,
    mail="http://127.0.0.1:5",
    database="127.0.0.1:6",
)
NAMES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "TZDIR")


@pytest.mark.parametrize("service", ["api", "matching", "notifications"])
def test_services_are_told_where_libraries_and_zones_are_and_nothing_else_of_the_machine(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, f"/{name}")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the machine")

    told = Installation.load(tmp_path).environment(service, WHERE)

    assert {name: told[name] for name in NAMES} == {name: f"/{name}" for name in NAMES}
    assert "AWS_SECRET_ACCESS_KEY" not in told


def test_what_is_not_set_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    told = Installation.load(tmp_path).environment("matching", WHERE)

    assert told.keys().isdisjoint(NAMES)
