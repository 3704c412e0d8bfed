"""What is kept of a pool so that it need not be made again."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.api.participants.tables import TextVector
from services.api.pools import rules


async def keep_vectors(
    session: AsyncSession,
    *,
    organization_id: UUID,
    model: str,
    vectors: Mapping[str, bytes],
    now: datetime,
) -> None:
    """Keep what a model made of texts; what somebody else kept meanwhile is the same."""
    hashed = {rules.text_hash(text): vector for text, vector in vectors.items()}
    rows = [
        {
            "organization_id": organization_id,
            "model": model,
            "text_hash": known_by,
            "vector": hashed[known_by],
            "created_at": now,
        }
        # In one order, so that two who keep the same do not wait for each other in a ring.
        for known_by in sorted(hashed)
    ]
    await session.execute(insert(TextVector).values(rows).on_conflict_do_nothing())
