"""Wrong settings are named, one line each, before anything starts; their values never are."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
import uvicorn
from typer.testing import CliRunner

from services import cli

ROOT = Path(__file__).parents[2]
KEY = "A" * 43
WRONG_SETTINGS = 2
ADDRESS = "should be an address such as postgresql://role:password@host:5432/name"
WRONG = {"MENTORING_KEY_ENCRYPTION_KEY": "short-one", "MENTORING_API_DATABASE_URL": "nonsense-url"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run(*command: str, **variables: str) -> Ended:
    """Run one command that is told nothing but these variables, without waiting for imports."""
    with (
        patch.dict(os.environ, variables, clear=True),
        # Without its database the api would serve on and on.
        patch.object(uvicorn.Server, "run", side_effect=AssertionError("it started")),
    ):
        result = CliRunner().invoke(cli.app, command)
    # Whatever else it raised would have been a traceback in a process of its own.
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return Ended(result.exit_code, result.stdout, result.stderr)


def run_by_itself(*command: str, **variables: str) -> Ended:
    """Run one command in a process of its own, as an operator does."""
    ended = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "services.cli", *command],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize(
    ("runs", "command"),
    [(run_by_itself, "serve"), (run, "serve"), (run, "worker"), (run, "migrate")],
)
def test_every_wrong_variable_has_one_line_without_its_value(
    runs: Callable[..., Ended], command: str
) -> None:
    ended = runs(command, "api", **WRONG, MENTORING_RATE_LIMIT="-5")

    assert ended.returncode == WRONG_SETTINGS
    assert sorted(ended.stderr.splitlines()) == [
        f"MENTORING_API_DATABASE_URL: {ADDRESS}",
        "MENTORING_KEY_ENCRYPTION_KEY: should be 32 bytes in base64url",
        "MENTORING_RATE_LIMIT: Input should be greater than or equal to 1",
    ]
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///api",
        "mysql://role:hidden@host/api",
        "http://host/api",
        "postgresql://role:hidden@host:port/api",
    ],
)
def test_the_address_of_a_database_needs_its_scheme_and_a_host(url: str) -> None:
    ended = run("migrate", "notifications", MENTORING_NOTIFICATIONS_MIGRATOR_DATABASE_URL=url)

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr == f"MENTORING_NOTIFICATIONS_MIGRATOR_DATABASE_URL: {ADDRESS}\n"


def test_what_must_be_given_is_named() -> None:
    ended = run("serve", "api")

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr.splitlines() == [
        "MENTORING_API_DATABASE_URL: must be given",
        "MENTORING_KEY_ENCRYPTION_KEY: must be given",
    ]


def test_migrations_need_one_address_and_name_it() -> None:
    ended = run("migrate", "api")

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr.startswith("MENTORING_API_MIGRATOR_DATABASE_URL: is set neither")
    assert len(ended.stderr.splitlines()) == 1


def test_a_worker_names_the_addresses_it_needs() -> None:
    # By itself: it begins to work before it finds that they are missing.
    ended = run_by_itself(
        "worker",
        "api",
        MENTORING_API_DATABASE_URL="postgresql://role:hidden@127.0.0.1:1/api",
        MENTORING_KEY_ENCRYPTION_KEY=KEY,
    )

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr.startswith("MENTORING_API_JOBS_DATABASE_URL, MENTORING_API_WORKER")
    assert "Traceback" not in ended.stderr


def test_what_settings_break_together_names_them() -> None:
    ended = run(
        "serve",
        "api",
        MENTORING_API_DATABASE_URL="postgresql://role:hidden@127.0.0.1:1/api",
        MENTORING_KEY_ENCRYPTION_KEY=KEY,
        MENTORING_DEV_LOGIN="1",
    )

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr.startswith("MENTORING_DEV_LOGIN, MENTORING_MODE: ")
    assert len(ended.stderr.splitlines()) == 1


def test_a_demo_does_not_listen_beyond_this_machine() -> None:
    ended = run(
        "serve",
        "api",
        MENTORING_API_DATABASE_URL="postgresql://role:hidden@127.0.0.1:1/api",
        MENTORING_KEY_ENCRYPTION_KEY=KEY,
        MENTORING_ENV="development",
        MENTORING_MODE="demo",
    )

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr.startswith("MENTORING_MODE: a demo listens on this machine only")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("proxies", ["proxy.corp", "127.0.0.1,*", "10.0.0.1/8", "127.0.0.1:80"])
def test_proxies_are_addresses_or_networks(proxies: str) -> None:
    ended = run(
        "serve",
        "api",
        MENTORING_API_DATABASE_URL="postgresql://role:hidden@127.0.0.1:1/api",
        MENTORING_KEY_ENCRYPTION_KEY=KEY,
        MENTORING_TRUSTED_PROXIES=proxies,
    )

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr == (
        "MENTORING_TRUSTED_PROXIES: should be addresses or networks, such as"
        " 127.0.0.1,172.16.0.0/12\n"
    )


@pytest.mark.parametrize(
    "mail",
    [
        {"MENTORING_SMTP_HOST": "mail.example.org"},
        {"MENTORING_SMTP_HOST": "192.0.2.7"},
        {"MENTORING_SMTP_HOST": "127.0.0.1", "MENTORING_SMTP_USERNAME": "postbox"},
    ],
)
def test_a_demo_does_not_start_with_a_real_mail_server(mail: dict[str, str]) -> None:
    ended = run(
        "worker",
        "notifications",
        MENTORING_NOTIFICATIONS_DATABASE_URL="postgresql://role:hidden@127.0.0.1:1/it",
        MENTORING_NOTIFICATIONS_WORKER_DATABASE_URL="postgresql://role:hidden@127.0.0.1:1/it",
        MENTORING_ENV="development",
        MENTORING_MODE="demo",
        **mail,
    )

    assert ended.returncode == WRONG_SETTINGS
    assert ended.stderr.startswith("MENTORING_MODE, MENTORING_SMTP_HOST: ")
    assert len(ended.stderr.splitlines()) == 1


def test_a_misspelt_variable_is_worth_a_line_and_a_foreign_one_is_not() -> None:
    ended = run(
        "migrate",
        "api",
        MENTORING_RATE_LIMITS="hidden",
        MENTORING_COLOUR="blue",
        MENTORING_HEARTBEAT_FILE="/nowhere",
    )

    assert ended.stderr.splitlines()[0] == (
        "MENTORING_RATE_LIMITS: no such setting; did you mean MENTORING_RATE_LIMIT?"
    )
    assert len(ended.stderr.splitlines()) == 2
    assert "hidden" not in ended.stderr
