"""The api with short times, so that signing keys take turns within seconds.

`python -m tests.support.hurried` serves it as `mentoring serve api` does; a test that works beside
it hurries as well.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

from services import cli
from services.api.access import keys, tokens
from services.api.issuer import routes

CACHE_SECONDS = 1
LIFETIME_SECONDS = 2

SHORT: Mapping[tuple[object, str], object] = MappingProxyType(
    {
        (keys, "CACHE_SECONDS"): CACHE_SECONDS,
        (keys, "REFRESH_SECONDS"): 0.2,
        (keys, "SIGNING_PERIOD"): timedelta(seconds=1),
        (tokens, "LIFETIME_SECONDS"): LIFETIME_SECONDS,
        (tokens, "DEMO_LIFETIME_SECONDS"): LIFETIME_SECONDS,
        (tokens, "LEEWAY_SECONDS"): 5,
        (routes, "CACHE_SECONDS"): CACHE_SECONDS,
    }
)


def hurry(put: Callable[[object, str, object], None] = setattr) -> None:
    """Shorten every time that the turns of keys are made of."""
    for (module, name), value in SHORT.items():
        put(module, name, value)


if __name__ == "__main__":
    hurry()
    cli.app(["serve", "api"])
