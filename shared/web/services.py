"""The door for sibling services: a signed token bound to this very request, good once."""

from fastapi import Request

from shared.clock import Clock
from shared.errors import InvalidError, UnauthenticatedError
from shared.security import LEEWAY_SECONDS, ServiceCaller, ServiceVerifier

PRUNE_ABOVE = 1024


class Replays:
    """Remembers tokens until they expire, so that none opens this process's door twice."""

    def __init__(self, clock: Clock) -> None:
        """Start with none."""
        self._clock = clock
        self._expiry: dict[tuple[str, str], float] = {}
        self._prune_above = PRUNE_ABOVE

    def refuse_known(self, caller: ServiceCaller) -> None:
        """Remember this token; one that was seen before is an `UnauthenticatedError`."""
        if len(self._expiry) >= self._prune_above:
            self._forget_expired()
        name = (caller.service, caller.token_id)
        if name in self._expiry:
            raise UnauthenticatedError(code="token_invalid")
        self._expiry[name] = caller.expires_at + LEEWAY_SECONDS

    def _forget_expired(self) -> None:
        now = self._clock().timestamp()
        self._expiry = {name: at for name, at in self._expiry.items() if at > now}
        # Twice what lives: forgetting stays cheap however many tokens are current.
        self._prune_above = max(PRUNE_ABOVE, 2 * len(self._expiry))


class ServiceDoor:
    """A dependency that lets sibling services in and nobody else: user tokens are refused.

    `allowed` names the services that may call at all; None lets every sibling in.
    """

    def __init__(
        self,
        verifier: ServiceVerifier,
        *,
        clock: Clock,
        max_bytes: int,
        allowed: frozenset[str] | None = None,
    ) -> None:
        """Take who verifies, and the largest body that is read to do so."""
        self._verifier = verifier
        self._replays = Replays(clock)
        self._max_bytes = max_bytes
        self._allowed = allowed

    async def __call__(self, request: Request) -> ServiceCaller:
        """Return who is calling, and for whom."""
        body = await read_body(request, max_bytes=self._max_bytes)
        caller = self._verifier.verify(
            method=request.method,
            path=request.scope["path"],
            body=body,
            authorization=request.headers.get("authorization", ""),
        )
        if self._allowed is not None and caller.service not in self._allowed:
            raise UnauthenticatedError(code="token_invalid")
        self._replays.refuse_known(caller)
        return caller


async def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Return the body, refusing a larger one without reading the rest of it."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large(max_bytes)
    size, parts = 0, []
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise too_large(max_bytes)
        parts.append(part)
    body = b"".join(parts)
    # Where Starlette itself keeps a body that was read, so that a route may ask again.
    request._body = body  # noqa: SLF001
    return body


def too_large(max_bytes: int) -> InvalidError:
    """Refuse a body above the limit."""
    return InvalidError(
        f"The body is too large: at most {max_bytes} bytes are taken.", code="content_too_large"
    )
