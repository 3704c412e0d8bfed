"""The browser that tests of pages drive: Debian's Chromium, or the one that is named."""

import os
from pathlib import Path

CHROMIUM = os.environ.get("CHROMIUM") or "/usr/bin/chromium"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def is_there() -> bool:
    """Tell whether there is a browser on this machine."""
    return Path(CHROMIUM).exists()
