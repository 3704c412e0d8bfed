"""What a local installation tells its services, and whoever started it."""

from pathlib import Path

import pytest
from rich.console import Console

from services.local import launch, stack, state
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
OF_A_DEVELOPER = {
    "MENTORING_CORS_ORIGINS": "http://127.0.0.1:5173",
    "MENTORING_EGRESS_ALLOW": "localhost",
    "MENTORING_RATE_LIMIT": "7",
    "MENTORING_ORGANIZATION_RATE_LIMIT": "8",
    "MENTORING_SIGN_IN_RATE_LIMIT": "9",
    "MENTORING_SIGN_IN_ORGANIZATION_RATE_LIMIT": "10",
}


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


def test_the_api_alone_is_told_what_a_developer_sets_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OF_A_DEVELOPER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MENTORING_OPERATOR_TOKEN", "of another installation")
    installation = Installation.load(tmp_path)

    told = installation.environment("api", WHERE)

    assert told.items() >= OF_A_DEVELOPER.items()
    assert told["MENTORING_OPERATOR_TOKEN"] == installation.operator_token
    for service in ("matching", "notifications"):
        assert installation.environment(service, WHERE).keys().isdisjoint(OF_A_DEVELOPER)


def test_says_where_credentials_really_are(tmp_path: Path) -> None:
    console = Console(width=40, record=True, quiet=False)
    folder = tmp_path / "of [another] name, longer than a line of a narrow terminal"
    current = state.State(
        api_url="http://127.0.0.1:1/v1",
        matching_url="",
        notifications_url="",
        mail_url="",
        database_url="",
        organization="demo",
        supervisor_pid=1,
    )

    stack.screen(console, current, folder)

    assert f"credentials   {folder}/state.json, or" in console.export_text()


def test_says_where_the_log_of_a_failed_start_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MENTORING_STATE", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(launch, "mentoring", lambda *_arguments: ("false",))

    assert launch.up(tmp_path, is_detached=True, is_fresh=False, plays_demo=False) == 1

    assert f"see {tmp_path}/elsewhere/up.log" in capsys.readouterr().err
