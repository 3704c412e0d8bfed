"""The house rules that neither types nor import contracts can express."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import services
import shared
from shared import ids

ROOT = Path(__file__).parents[2]
SOURCE = sorted(file for top in ("services", "shared") for file in (ROOT / top).rglob("*.py"))
FEATURE_FILES = {
    *("__init__.py", "rules.py", "tables.py", "schemas.py", "queries.py"),
    *("operations.py", "jobs.py", "routes.py"),
}
# Packages that are no features: doors, foundations and callers.
FOUNDATIONS = {"access", "clients", "events", "migrations", "timers", "channels", "templates"}
TRANSACTION_WORDS = {"commit", "rollback"}
ONLY_COMMITTER = ROOT / "shared" / "persistence" / "sessions.py"
# Words that domain.md replaces; a name made of one of them is a second word for the same thing.
FOREIGN_WORDS = {
    *("user", "users", "employee", "employees", "enrollment", "enrolment", "admin"),
    *("relationship", "appointment", "supervisor", "company", "tenant_id"),
}


@cache
def tree_of(file: Path) -> ast.Module:
    """Return what a file says; several rules look at every one."""
    return ast.parse(file.read_text())


def features(service: str) -> Iterator[Path]:
    """Yield the folders of a service's features, nested ones as well."""
    for folder in (ROOT / "services" / service).rglob("*"):
        is_package = folder.is_dir() and (folder / "__init__.py").exists()
        parts = set(folder.relative_to(ROOT / "services" / service).parts)
        if is_package and not parts & FOUNDATIONS and not _holds_features(folder):
            yield folder


def _holds_features(folder: Path) -> bool:
    return any((one / "__init__.py").exists() for one in folder.iterdir() if one.is_dir())


@pytest.mark.parametrize("service", ["api", "notifications"])
def test_a_feature_has_only_the_seven_files(service: str) -> None:
    foreign = [
        str(file.relative_to(ROOT))
        for folder in features(service)
        for file in folder.glob("*.py")
        if file.name not in FEATURE_FILES
    ]

    assert foreign == []


def test_only_sessions_commits() -> None:
    calls = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in SOURCE
        if file != ONLY_COMMITTER
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in TRANSACTION_WORDS
    ]

    assert calls == []


def test_nothing_sets_session_state() -> None:
    """A session-level SET leaks to the pool's next borrower, whoever that is."""
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in SOURCE
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.upper().startswith(("SET APP.", "SET SESSION", "SET LOCAL", "SET ROLE"))
    ]

    assert found == []


def test_time_and_chance_come_from_outside() -> None:
    """Wherever something is decided, now is an argument."""
    decided = {"rules.py", "operations.py", "queries.py", "solver.py", "scoring.py"}
    calls = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in SOURCE
        if file.name in decided
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"now", "utcnow", "today"}
        and not (isinstance(node.func.value, ast.Name) and node.func.value.id == "func")
    ]

    assert calls == []


def test_importing_any_module_does_nothing() -> None:
    """Every module is imported in a process without settings, network or writable folder."""
    modules = [
        module.name
        for package in (services, shared)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
        and ".versions." not in module.name
        and not module.name.endswith(".env")
    ]
    program = (
        "import gc, importlib, socket, sys\n"
        # What is imported stays, and looking through it for garbage took a fifth of the time.
        "gc.disable()\n"
        "def refuse(*_args, **_kwargs): raise RuntimeError('a connection at import')\n"
        "socket.socket.connect = refuse\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )

    done = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_no_two_kinds_share_a_prefix() -> None:
    assert len(set(ids.PREFIXES.values())) == len(ids.PREFIXES)


@pytest.mark.parametrize("service", ["api", "notifications"])
def test_tables_and_columns_use_the_words_of_the_domain(service: str) -> None:
    tables = importlib.import_module(f"services.{service}.migrations.tables")
    names = {
        name
        for table in tables.METADATA.tables.values()
        for name in (table.name, *(column.name for column in table.columns))
    }

    # An employee number is a fact of HR systems, not a word for people here.
    foreign = {name for name in names - {"employee_number"} if FOREIGN_WORDS & set(name.split("_"))}

    assert foreign == set()


def test_the_framework_exports_nothing_by_itself() -> None:
    """Its spans and logs carry addresses, queries and exception texts past our allowlist."""
    made = [
        (f"{file.relative_to(ROOT)}:{node.lineno}", {one.arg: one.value for one in node.keywords})
        for file in SOURCE
        if file.is_relative_to(ROOT / "services") and file.name == "main.py"
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "FastAPI"
    ]
    loud = [
        place
        for place, told in made
        if "telemetry" not in told or ast.unparse(told["telemetry"]) != "logs.NO_TELEMETRY"
    ]

    assert len(made) == 4
    assert loud == []
