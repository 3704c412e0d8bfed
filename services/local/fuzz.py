"""Play against the whole document: a throw-away installation, attacked by a schema fuzzer."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from services.local import postgres, roles
from services.local.fuzz_stage import Stage, furnish
from services.local.installation import Addresses, Installation
from services.local.supervisor import address, listen, mentoring

BIN = Path(sys.executable).parent
READY_SECONDS = 30.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.1
SEEDS = (1, 2)
# The fuzzer is one principal and asks as often as it can.
UNHURRIED = {
    "MENTORING_RATE_LIMIT": "1000000",
    "MENTORING_ORGANIZATION_RATE_LIMIT": "1000000",
    "MENTORING_NETWORK_RATE_LIMIT": "1000000",
}


class FuzzError(Exception):
    """The installation to play against did not come up."""


def run(root: Path, *, examples: int, seeds: Sequence[int], phases: str) -> int:
    """Fuzz with each seed in turn; return how many of them found a failure."""
    return asyncio.run(_run(root, examples=examples, seeds=seeds, phases=phases))


async def _run(root: Path, *, examples: int, seeds: Sequence[int], phases: str) -> int:
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        async with _serving(root, Path(scratch)) as (url, installation):
            for seed in seeds:
                # Each seed has an organization of its own: what one left behind misleads the other.
                target = await _found(url, installation.operator_token)
                arguments = (
                    "--phases",
                    phases,
                    "--max-examples",
                    str(examples),
                    "--seed",
                    str(seed),
                )
                failed += await _attack(root, target, arguments)
    return failed


@asynccontextmanager
async def _serving(root: Path, scratch: Path) -> AsyncIterator[tuple[str, Installation]]:
    """Run a migrated api on a free port, with a database of its own."""
    installation = Installation.load(scratch)
    async with postgres.running(scratch / "postgres", is_throwaway=True) as server:
        await roles.prepare(server.url(database="postgres"), installation.passwords)
        listener = listen()
        url = address(listener)
        environment = _environment(installation, url, server.port)
        await _migrate(root, environment)
        process = await asyncio.create_subprocess_exec(
            *mentoring("serve", "api"),
            cwd=root,
            env=environment | {"MENTORING_LISTEN_FD": str(listener.fileno())},
            pass_fds=[listener.fileno()],
            stdout=subprocess.DEVNULL,
        )
        try:
            await _ready(url)
            yield url, installation
        finally:
            await _stop(process)
            listener.close()


def _environment(installation: Installation, url: str, port: int) -> dict[str, str]:
    where = Addresses(
        api=url,
        matching="http://127.0.0.1:9",
        notifications="http://127.0.0.1:9",
        mail_host="127.0.0.1",
        mail_port=9,
        mail="",
        database=f"127.0.0.1:{port}",
    )
    return installation.environment("api", where) | UNHURRIED


async def _migrate(root: Path, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *mentoring("migrate", "api"), cwd=root, env=environment
    )
    if await process.wait():
        raise FuzzError("the migrations failed")


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=READY_SECONDS) as http:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while (await http.get("/readyz")).status_code != httpx.codes.OK:  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise FuzzError("the api did not become ready") from None


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _found(url: str, operator_token: str) -> dict[str, str]:
    """Found and furnish an organization, and return what the fuzzer is told of it.

    Only our own server knows the operator's token, so this also proves whom we are about to attack.
    """
    slug = f"fuzz-{secrets.token_hex(6)}"
    headers = {"Authorization": f"Bearer {operator_token}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, trust_env=False, timeout=READY_SECONDS
    ) as http:
        founded = await http.post("/operator/organizations", json=_organization(slug))
        founded.raise_for_status()
        holder = founded.json()["org_admin_person_id"]
        known = await furnish(Stage(http, slug, holder, operator_token))
    return {
        "FUZZ_URL": url,
        "FUZZ_ORGANIZATION": slug,
        "FUZZ_PERSON": holder,
        "FUZZ_KNOWN": json.dumps(known),
        "FUZZ_OPERATOR_TOKEN": operator_token,
    }


def _organization(slug: str) -> dict[str, object]:
    return {
        "slug": slug,
        "name": "Fuzzed Works",
        "kind": "sandbox",
        "default_timezone": "Europe/Berlin",
        "grade_order": ["Junior", "Senior", "Lead"],
        "org_admin": {
            "given_name": "Olive",
            "family_name": "Admin",
            "email": f"admin@{slug}.example.org",
        },
    }


async def _attack(root: Path, target: dict[str, str], arguments: Sequence[str]) -> int:
    api = f"{target['FUZZ_URL']}/v1"
    process = await asyncio.create_subprocess_exec(
        BIN / "schemathesis",
        *("--config-file", "deploy/schemathesis.toml", "run", f"{api}/openapi.json"),
        *("--url", api, "--mode", "all", "--checks", "all"),
        *("--generation-database", "none", "--continue-on-failure", "--request-timeout", "30"),
        *arguments,
        cwd=root,
        env=os.environ | target | {"PYTHONPATH": str(root)},
    )
    return int(bool(await process.wait()))
