"""The `mentoring` command: starts programs by name and imports none of them."""

import gc
import importlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

app = typer.Typer(
    help="Run, test and look after a mentoring installation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
ROOT = Path(__file__).parents[1]
SERVICES = ("api", "matching", "notifications")
WRONG_SETTINGS = 2
DRAIN_SECONDS = 8
EVERYWHERE = "0.0.0.0"  # noqa: S104 - in containers; a local stack hands over a loopback socket
HEARTBEAT_SECONDS = 30
READY = "http://127.0.0.1:8000/readyz"

ServiceName = Annotated[str, typer.Argument(help="api, matching or notifications")]


@app.callback()
def main() -> None:
    """Run, test and look after a mentoring installation."""


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option(help="Return once everything is healthy.")] = False,
    fresh: Annotated[bool, typer.Option(help="Start over: throw the database away.")] = False,
    demo: Annotated[bool, typer.Option(help="Play a program once everything is healthy.")] = True,
) -> None:
    """Run the database, all services and workers, and captured mail on this machine."""
    from services.local import launch  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(launch.up(ROOT, is_detached=detach, is_fresh=fresh, plays_demo=demo))


@app.command()
def down() -> None:
    """Stop what `up` started in this folder."""
    from services.local import launch  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(launch.down(ROOT))


@app.command()
def status(
    *, as_json: Annotated[bool, typer.Option("--json", help="As JSON, with credentials.")] = False
) -> None:
    """Say what runs in this folder, and where."""
    from services.local import launch  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(launch.status(ROOT, as_json=as_json))


@app.command()
def token(
    who: Annotated[str, typer.Argument(help="A role such as org_admin, or a person's id.")],
    *,
    organization: Annotated[
        str | None, typer.Option(help="The slug of another organization, such as a demo's.")
    ] = None,
) -> None:
    """Print a development credential of the running stack."""
    from services.local import launch  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(launch.token(ROOT, who, organization=organization))


def _load(name: str) -> Any:
    """Import a program. What that makes stays: no garbage is looked for among it, now or later."""
    gc.disable()
    module = importlib.import_module(name)
    gc.freeze()
    gc.enable()
    return module


def _settings_of(service: str) -> Any:
    return getattr(_load(f"services.{service}.settings"), f"{service.capitalize()}Settings")


def _require_settings(service: str, *, may_lack: bool = False) -> None:
    """Name every variable that is wrong, and end before anything starts."""
    from shared import settings  # noqa: PLC0415 - each command loads only what it needs

    # An image holds one service; its settings are all there is to know.
    present = [name for name in SERVICES if find_spec(f"services.{name}") is not None]
    for line in settings.misspelt(map(_settings_of, present)):
        typer.echo(line, err=True)
    if lines := settings.faults(_settings_of(service), may_lack=may_lack):
        typer.echo("\n".join(lines), err=True)
        raise typer.Exit(WRONG_SETTINGS)


@contextmanager
def _named_settings() -> Iterator[None]:
    from shared import settings  # noqa: PLC0415 - each command loads only what it needs

    try:
        yield
    except settings.SettingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(WRONG_SETTINGS) from None


def _refuse_an_open_demo(service: str, host: str) -> None:
    from shared.settings import Mode, is_loopback  # noqa: PLC0415 - loads only what it needs

    told = _settings_of(service)()
    if told.mode is Mode.DEMO and not told.demo_public and not is_loopback(host):
        typer.echo(
            f"MENTORING_MODE: a demo listens on this machine only, not on {host};"
            " MENTORING_DEMO_PUBLIC=1 lets it",
            err=True,
        )
        raise typer.Exit(WRONG_SETTINGS)


@app.command()
def serve(service: ServiceName) -> None:
    """Serve one service on the socket it was handed, or on 0.0.0.0:8000."""
    import uvicorn  # noqa: PLC0415 - each command loads only what it needs

    _require_settings(service)
    handed = os.environ.get("MENTORING_LISTEN_FD")
    sockets = [socket.socket(fileno=int(handed))] if handed else None
    _refuse_an_open_demo(service, sockets[0].getsockname()[0] if sockets else EVERYWHERE)
    config = uvicorn.Config(
        _load(f"services.{service}.main").create_app(),
        host=EVERYWHERE,
        port=8000,
        log_level="warning",
        access_log=False,
        server_header=False,
        # Services that only their peers call have no such setting.
        forwarded_allow_ips=getattr(_settings_of(service)(), "trusted_proxies", None),
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=sockets)


@app.command()
def worker(service: ServiceName) -> None:
    """Run the background work of one service."""
    _require_settings(service)
    with _named_settings():
        _load(f"services.{service}.worker").main()


@app.command("rotate-keys")
def rotate_keys() -> None:
    """Make the next key that access tokens are signed with; it signs once everybody knows it."""
    _require_settings("api")
    with _named_settings():
        typer.echo(_load("services.api.worker").rotate_keys())


@app.command()
def migrate(service: ServiceName) -> None:
    """Bring the database of one service to its newest revision."""
    # A container that migrates is told no more than the address of the database.
    _require_settings(service, may_lack=True)
    with _named_settings():
        _load(f"services.{service}.migrations.__main__").main([])


@app.command()
def health(
    *, worker: Annotated[bool, typer.Option(help="A worker, known by its heartbeat.")] = False
) -> None:
    """Say by the exit code whether the service or worker of this container is well."""
    raise typer.Exit(0 if (_beats() if worker else _answers()) else 1)


def _beats() -> bool:
    heartbeat = Path(os.environ["MENTORING_HEARTBEAT_FILE"])
    return heartbeat.exists() and time.time() - heartbeat.stat().st_mtime < HEARTBEAT_SECONDS


def _answers() -> bool:
    try:
        return bool(httpx.get(READY, timeout=3, trust_env=False).is_success)
    except httpx.TransportError:
        return False


@app.command("mail-sink", hidden=True)
def mail_sink(folder: Path) -> None:
    """Capture mail on the sockets that were handed over."""
    from services.local import mailsink  # noqa: PLC0415 - each command loads only what it needs

    mailsink.main(folder)


@app.command()
def test(
    paths: Annotated[list[str] | None, typer.Argument(help="Only these files or folders.")] = None,  # noqa: PT028 - an argument of a command, no fixture
) -> None:
    """Check formatting, lint, types, import contracts and tests."""
    from services.local import checks  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(checks.run(paths or []))


@app.command("format")
def format_code() -> None:
    """Format the code and mend what can be mended."""
    ruff = Path(sys.executable).parent / "ruff"
    subprocess.run([ruff, "check", "--fix", "--quiet", "."], cwd=ROOT, check=False)  # noqa: S603 - a fixed command
    subprocess.run([ruff, "format", "--quiet", "."], cwd=ROOT, check=True)  # noqa: S603 - a fixed command


@app.command()
def demo(
    *,
    people: Annotated[Path | None, typer.Option(help="A CSV file of people.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="Which column means what, as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Play a mentoring program through the public API: people in, first meetings out."""
    from services.demo import play  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(play.main(ROOT, people=people, mapping=mapping, as_json=as_json))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="api, matching, sign-in or stack")],
) -> None:
    """Measure speed or memory, as ratios in one run; `--json` prints the figures as JSON."""
    command = [sys.executable, "-m", f"tests.bench.{what.replace('-', '_')}", *context.args]
    raise typer.Exit(subprocess.run(command, cwd=ROOT, check=False).returncode)  # noqa: S603 - our own program


@app.command()
def docs() -> None:
    """Write the documents that are made from the code."""
    command = [sys.executable, "-m", "services.documents"]
    raise typer.Exit(subprocess.run(command, cwd=ROOT, check=False).returncode)  # noqa: S603 - our own program


@app.command()
def lock() -> None:
    """Resolve every dependency anew and write the lock files."""
    from services.local import locks  # noqa: PLC0415 - each command loads only what it needs

    locks.write()


@app.command("secrets")
def make_secrets(folder: Path) -> None:
    """Make the secrets of an installation in containers, one file each; none is ever changed."""
    from services.local import secret_files  # noqa: PLC0415 - each command loads only what it needs

    for name in secret_files.write(folder):
        Console().print(folder / name)


@app.command("lint-api")
def lint_api() -> None:
    """Hold the API document against outside rulesets."""
    from services.local import lint_api as linters  # noqa: PLC0415 - each command loads what it needs

    raise typer.Exit(linters.run(ROOT))


@app.command()
def fuzz(
    *,
    examples: Annotated[int, typer.Option(min=1, help="Test cases per operation.")] = 30,
    seed: Annotated[int | None, typer.Option(help="One seed instead of two.")] = None,
    phases: Annotated[
        str, typer.Option(help="Fewer phases, separated by commas.")
    ] = "examples,coverage,fuzzing,stateful",
) -> None:
    """Attack a throw-away installation with what the API document allows and forbids.

    All of it takes about a quarter of an hour on two quiet cores.
    """
    from services.local import fuzz as fuzzing  # noqa: PLC0415 - each command loads what it needs

    seeds = fuzzing.SEEDS if seed is None else (seed,)
    raise typer.Exit(fuzzing.run(ROOT, examples=examples, seeds=seeds, phases=phases))


@app.command()
def doctor() -> None:
    """Say whether this machine has what the product needs."""
    from services.local import postgres  # noqa: PLC0415 - each command loads only what it needs

    console = Console()
    console.print(f"Python       {sys.version.split()[0]}")
    try:
        console.print(f"PostgreSQL   {postgres.find_binaries()}")
    except postgres.NoPostgresError as error:
        console.print(f"PostgreSQL   [red]{error}[/]")
        raise typer.Exit(1) from error
    console.print(f"Node         {shutil.which('node') or 'absent: lint-api will be skipped'}")


if __name__ == "__main__":
    app()
