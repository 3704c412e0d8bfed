"""The `mentoring` command: starts programs by name and imports none of them."""

from typing import Annotated

import typer

app = typer.Typer(
    help="Run, test and look after a mentoring installation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def main() -> None:
    """Run, test and look after a mentoring installation."""


@app.command()
def test(
    paths: Annotated[list[str] | None, typer.Argument(help="Only these files or folders.")] = None,  # noqa: PT028 - an argument of a command, no fixture
) -> None:
    """Check formatting, lint, types, import contracts and tests."""
    from services.local import checks  # noqa: PLC0415 - each command loads only what it needs

    raise typer.Exit(checks.run(paths or []))
