"""That nothing is left to compile once a worker has warmed up."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from services.matching import kernel
from services.matching.warming import warm


def uncompiled() -> list[str]:
    """Return the compiled functions of all kernels that were never compiled so far."""
    names = [module.name for module in pkgutil.iter_modules(kernel.__path__)]
    modules = [importlib.import_module(f"{kernel.__name__}.{name}") for name in names]
    return [
        f"{module.__name__}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if _is_uncompiled(value)
    ]


def _is_uncompiled(value: Any) -> bool:
    if not hasattr(value, "py_func"):
        return False
    # What only compiled functions call comes with them, from the cache too.
    options = value.targetoptions
    is_inside = options.get("no_cpython_wrapper") or options.get("inline") == "always"
    return not is_inside and not value.signatures


def test_leaves_nothing_to_compile() -> None:
    # In a process of its own: other tests have compiled a lot in this one.
    root = Path(__file__).parents[3]
    script = f"from {warm.__module__} import warm; from {__name__} import uncompiled"
    command = [sys.executable, "-c", f"{script}; warm(); print(*uncompiled())"]

    found = subprocess.run(  # noqa: S603 - our own interpreter
        command, cwd=root, check=True, capture_output=True, text=True
    )

    assert found.stdout.split() == []
