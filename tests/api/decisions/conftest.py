"""An api that can call matching."""

from tests.support.with_matching import api, desk, matching, work

__all__ = ["api", "desk", "matching", "work"]
