"""Machine code that an image brings, used by a service that starts without any."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import UserProvidedCacheLocator

from services.matching import kernel
from services.matching.compiled import brought_along
from services.matching.pool import environment

PART = "forms"
KERNELS = Path(kernel.__file__).parent


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a folder with what was compiled on this machine, laid out as Numba does for it."""
    command = (sys.executable, "-m", "services.matching.warming", PART)
    beside = {name: value for name, value in environment().items() if name != "NUMBA_CACHE_DIR"}
    subprocess.run(command, env=beside, check=True)  # noqa: S603 - our own words
    source = str(KERNELS / "peers.py")
    layout = UserProvidedCacheLocator.get_suitable_cache_subpath(source)  # type: ignore[no-untyped-call]
    folder = tmp_path / "image" / layout
    folder.mkdir(parents=True)
    for name in ("peers", "circles"):
        for file in (KERNELS / "__pycache__").glob(f"{name}.*.nb[ci]"):
            shutil.copy(file, folder)
    return tmp_path / "image"


def content(folder: Path) -> dict[Path, bytes]:
    """Return every file below a folder."""
    return {
        file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }


async def test_what_an_image_brings_is_loaded_and_not_compiled_again(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))

    async with brought_along(image, parts=[PART]) as tried:
        assert tried
        await tried

    assert content(image)
    assert content(tmp_path / "own") == content(image)


async def test_trying_ends_with_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").mkdir()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))

    async with brought_along(tmp_path / "image") as tried:
        assert tried
        assert not tried.done()

    assert tried.cancelled()


async def test_without_an_image_nothing_is_tried() -> None:
    async with brought_along(None) as tried:
        assert tried is None
