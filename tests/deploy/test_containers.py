"""The compose file and the Dockerfile, read as an operator's machine would read them."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from services.api.settings import ApiSettings
from services.local import secret_files
from services.matching.settings import MatchingSettings
from services.notifications.settings import NotificationsSettings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SETTINGS: dict[str, type[BaseSettings]] = {
    "api": ApiSettings,
    "api-worker": ApiSettings,
    "migrate-api": ApiSettings,
    "matching": MatchingSettings,
    "notifications": NotificationsSettings,
    "notifications-worker": NotificationsSettings,
    "migrate-notifications": NotificationsSettings,
}
ONE_SHOT = {"migrate-api", "migrate-notifications"}


def told(service: dict[str, Any]) -> set[str]:
    """Return what a container is told, by its environment or by a file, in lower case."""
    secrets = {one if isinstance(one, str) else one["target"] for one in service.get("secrets", [])}
    return {name.lower() for name in service.get("environment", {})} | secrets


def test_runs_every_service_and_worker_behind_the_migrations() -> None:
    services = COMPOSE["services"]

    assert set(services) == {"database", *SETTINGS}
    for name in ("api", "api-worker"):
        assert services[name]["depends_on"] == {
            "migrate-api": {"condition": "service_completed_successfully"}
        }


@pytest.mark.parametrize("name", sorted({"database", *SETTINGS} - ONE_SHOT))
def test_every_lasting_container_has_a_health_check(name: str) -> None:
    assert COMPOSE["services"][name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_no_container_of_ours_runs_as_root_or_keeps_rights(name: str) -> None:
    service = COMPOSE["services"][name]

    assert service["user"] != "0"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", ["database", *sorted(SETTINGS)])
def test_tags_are_pinned(name: str) -> None:
    tag = COMPOSE["services"][name]["image"].partition(":")[2]

    assert re.fullmatch(r"\d+\.\d+(\.\d+)?(-[a-z]+)?", tag)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_containers_are_told_only_what_settings_know(name: str) -> None:
    known = {f"mentoring_{field}" for field in SETTINGS[name].model_fields}

    assert told(COMPOSE["services"][name]) <= known


def usual(name: str) -> str:
    """Return what the api is told where the operator's environment says nothing."""
    text = COMPOSE["services"]["api"]["environment"][name]
    found = re.fullmatch(rf"\$\{{{name}:-(.*)\}}", text)
    assert found, text
    return found[1]


@pytest.mark.parametrize("gateway", ["172.17.0.1", "172.31.0.1", "127.0.0.1"])
def test_a_proxy_on_the_machine_is_trusted(gateway: str) -> None:
    networks = map(ip_network, usual("MENTORING_TRUSTED_PROXIES").split(","))

    assert any(ip_address(gateway) in network for network in networks)
    assert COMPOSE["services"]["api"]["ports"] == ["127.0.0.1:8000:8000"]


@pytest.mark.parametrize(
    "name",
    [
        "rate_limit",
        "organization_rate_limit",
        "network_rate_limit",
        "sign_in_rate_limit",
        "sign_in_organization_rate_limit",
    ],
)
def test_limits_are_the_usual_ones_unless_the_operator_says_otherwise(name: str) -> None:
    default = ApiSettings.model_fields[name].default

    assert usual(f"MENTORING_{name.upper()}") == str(default)


def test_nothing_inside_may_be_called_unless_the_operator_says_so() -> None:
    assert usual("MENTORING_EGRESS_ALLOW") == ""


def test_every_secret_is_made_by_the_command(tmp_path: Path) -> None:
    made = secret_files.write(tmp_path / "secrets")
    wanted = {Path(one["file"]).name for one in COMPOSE["secrets"].values()}

    assert wanted <= set(made)


def test_a_second_call_changes_no_secret(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    first = {name: (folder / name).read_text() for name in secret_files.write(folder)}

    assert {name: (folder / name).read_text() for name in secret_files.write(folder)} == first


def test_an_image_copies_shared_and_one_service() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+?) \S+$", DOCKERFILE, flags=re.MULTILINE)

    assert copied == [
        "deploy/locks/${SERVICE}.lock",
        "services/__init__.py services/cli.py",
        "services/${SERVICE}/",
        "shared/",
    ]
    assert re.search(r"^USER 10001$", DOCKERFILE, flags=re.MULTILINE)


def test_lock_files_name_no_registry() -> None:
    locks = [ROOT / "requirements.lock", *(ROOT / "deploy" / "locks").glob("*.lock")]

    assert [file.name for file in locks if "://" in file.read_text()] == []


def test_no_lock_brings_a_client_of_a_model_hub_and_pip_takes_locks_as_they_stand() -> None:
    locks = [ROOT / "requirements.lock", *(ROOT / "deploy" / "locks").glob("*.lock")]
    named = [line for file in locks for line in file.read_text().splitlines()]

    assert [line for line in named if line.startswith(("huggingface", "hf-xet", "httpx2"))] == []
    for text in (DOCKERFILE, (ROOT / "dev").read_text()):
        assert re.search(r"--require-hashes[\s\\]+--no-deps", text)


def test_what_is_compiled_is_kept_where_the_container_may_write() -> None:
    writable = COMPOSE["services"]["matching"]["tmpfs"]

    found = re.search(r"NUMBA_CACHE_DIR=(\S+)/", DOCKERFILE)

    assert found
    assert found[1] in writable


@pytest.mark.parametrize("service", ["api", "matching", "notifications"])
def test_each_service_has_the_versions_that_were_tested(service: str) -> None:
    def pins(file: Path) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", file.read_text(), flags=re.MULTILINE))

    assert pins(ROOT / "deploy" / "locks" / f"{service}.lock") <= pins(ROOT / "requirements.lock")
