"""What the matching service is told by its environment."""

from pathlib import Path

from pydantic import Field

from shared.settings import ServiceSettings


class MatchingSettings(ServiceSettings):
    """Settings of `services.matching`; every one is documented in docs/configuration.md."""

    matching_compiled: Path | None = Field(
        None,
        description="Folder of machine code that an image brings; copied to `NUMBA_CACHE_DIR` and "
        "tried when the service starts.",
    )
    matching_workers: int = Field(
        2, ge=1, le=64, description="Problems that are worked on at once, one process each."
    )
    matching_queue: int = Field(
        8, ge=0, le=1000, description="Problems that may wait; further ones are refused with 503."
    )
    matching_organization_share: int = Field(
        5, ge=1, le=1000, description="Problems of one organization at once; more get 429."
    )
    matching_deadline_seconds: float = Field(
        120.0, gt=0, le=3600, description="Longest time for one problem, waiting included."
    )
    matching_heartbeat_seconds: float = Field(
        0.7, gt=0, le=60, description="Longest silence between two progress lines."
    )
    matching_idle_seconds: float = Field(
        60.0, ge=0, le=3600, description="How long a worker without work is kept in memory."
    )
    matching_max_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Largest problem that is taken, in bytes."
    )
    matching_max_cells: int = Field(
        450_000_000, ge=1, description="Most pairs (mentors times mentees) of one problem."
    )
