"""The first way in, as docs/operations.md has it: its very commands, against production."""

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.support.apps import OPERATOR_TOKEN, api_settings
from tests.support.database import Databases
from tests.support.email_codes import code_in_the_mail
from tests.support.processes import API, ROOT, environment, running

LOCAL = "API=http://127.0.0.1:8000\n"
EXAMPLE_CODE = "CODE=12345678 "
SECONDS = 60


def commands() -> tuple[str, str]:
    """Return what is typed before the mail is read, and after."""
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("## The first way in\n")[2].partition("\n## ")[0]
    before, after = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert before.startswith(LOCAL)
    assert after.startswith(EXAMPLE_CODE)
    return before, after


async def test_a_newcomer_gets_in_by_the_commands_of_the_page(
    databases: Databases, tmp_path: Path
) -> None:
    secret = tmp_path / "deploy" / "secrets" / "mentoring_operator_token"
    secret.parent.mkdir(parents=True)
    secret.write_text(OPERATOR_TOKEN)
    before, after = commands()
    told = environment(api_settings(databases)) | {
        "MENTORING_ENV": "production",
        "MENTORING_DEV_LOGIN": "0",
    }
    async with running(API, told) as server, asyncio.timeout(SECONDS):
        shell = await asyncio.create_subprocess_exec(
            *("/bin/bash", "-euo", "pipefail"),
            cwd=tmp_path,
            env={"PATH": told["PATH"], "NO_PROXY": "*"},
            stdin=PIPE,
            stdout=PIPE,
        )
        assert shell.stdin is not None
        assert shell.stdout is not None
        typed = before.replace(LOCAL, f"API={server.url}\n") + 'printf "\\n%s\\n" "$CHALLENGE"\n'
        shell.stdin.write(typed.encode())
        founded = json.loads(await shell.stdout.readline())
        challenge = (await shell.stdout.readline()).decode().strip()
        # What follows each answer is said on a line of its own, so that they can be told apart.
        answered = after.replace(EXAMPLE_CODE, f"CODE={code_in_the_mail(challenge)} ")
        shell.stdin.write(answered.replace("\ncurl", "\necho\ncurl").encode())
        said, _ = await shell.communicate()

    assert shell.returncode == 0, said
    me, key, app = [json.loads(line) for line in said.splitlines() if line.strip()]
    assert me["organization_id"] == founded["id"]
    assert me["person"]["id"] == founded["org_admin_person_id"]
    assert (me["person"]["email"], me["granted"]) == (
        "ada@example.org",
        [{"role": "org_admin", "program_id": None}],
    )
    assert "admin" in me["scopes"]
    assert key["key"].startswith("mk_")
    assert (app["kind"], app["created_by"]) == ("app", me["person"]["id"])
