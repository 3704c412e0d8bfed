"""What api asks of matching: a frozen problem in, explained answers out, for one organization."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import httpx
from pydantic import Field, TypeAdapter, ValidationError

from shared.errors import ConflictError, InvalidError, UnavailableError, Violation
from shared.http import ServiceClient
from shared.schemas.matching import (
    Circles,
    CirclesLine,
    DrawLine,
    EmbeddingsAnswer,
    ExplanationsAnswer,
    FailureLine,
    Fault,
    PolicyCheckAnswer,
    ProgressLine,
    ScoresAnswer,
    SolutionLine,
)

RUNS = "system:match_runs"
# A worker of matching that was asleep takes seconds to wake; a request's deadline is ten.
QUESTION_SECONDS = 8.0
# Matching speaks at least every two seconds; much longer silence means that it is gone.
SILENCE_SECONDS = 15.0
TOO_LONG = "deadline_exceeded"

type OnProgress = Callable[[ProgressLine], Awaitable[None]]

type Last = SolutionLine | CirclesLine | DrawLine
"""The last line of an answer, whichever door gave it."""

type Line = Annotated[
    ProgressLine | SolutionLine | CirclesLine | DrawLine | FailureLine,
    Field(discriminator="type"),
]

_LINE: TypeAdapter[Line] = TypeAdapter(Line)


@dataclass(frozen=True, slots=True)
class Door[Answer: Last]:
    """Where a whole problem is asked about, and the last line of its answer."""

    path: str
    last: type[Answer]


SOLUTIONS = Door("/v1/solutions", SolutionLine)
CIRCLES = Door("/v1/circles", CirclesLine)
DRAWS = Door("/v1/draws", DrawLine)


def required(client: ServiceClient | None) -> ServiceClient:
    """Return the caller of matching; refused where none is set up."""
    if client is None:
        raise UnavailableError(
            "Matching is not set up here.",
            code="matching_unavailable",
            headers={"Retry-After": "60"},
        )
    return client


async def solve(
    client: ServiceClient,
    *,
    organization_id: UUID,
    problem: Mapping[str, Any],
    on_progress: OnProgress,
) -> SolutionLine:
    """Solve a problem as pairs or groups, telling of progress on the way."""
    return await ask(
        client,
        SOLUTIONS,
        organization_id=organization_id,
        problem=problem,
        on_progress=on_progress,
    )


async def ask[Answer: Last](
    client: ServiceClient,
    door: Door[Answer],
    *,
    organization_id: UUID,
    problem: Mapping[str, Any],
    on_progress: OnProgress,
    subject: str = RUNS,
) -> Answer:
    """Ask about a whole problem; what `on_progress` raises ends it."""
    async with client.stream(
        "POST",
        door.path,
        organization_id=organization_id,
        subject=subject,
        body=problem,
        read_seconds=SILENCE_SECONDS,
    ) as answer:
        if not answer.is_success:
            await answer.aread()
            raise _refusal(answer)
        async for text in answer.aiter_lines():
            line = _parsed(text)
            if isinstance(line, door.last):
                return line
            if isinstance(line, FailureLine):
                raise _fault(line.status, line.code, line.errors)
            if isinstance(line, ProgressLine):
                await on_progress(line)
    # A connection that ends before the last line is a matching that went away.
    raise _unavailable()


async def judge_circles(
    client: ServiceClient, *, organization_id: UUID, subject: str, problem: Mapping[str, Any]
) -> Circles:
    """Ask what the circles that are there are worth, and which rules they break."""
    try:
        async with asyncio.timeout(QUESTION_SECONDS):
            line = await ask(
                client,
                CIRCLES,
                organization_id=organization_id,
                problem={**problem, "only_judged": True},
                on_progress=_take_no_note,
                subject=subject,
            )
    except TimeoutError:
        raise _unavailable() from None
    return line.circles


async def _take_no_note(_line: ProgressLine) -> None:
    pass


async def score(
    client: ServiceClient,
    *,
    organization_id: UUID,
    subject: str,
    problem: Mapping[str, Any],
    pairs: Mapping[str, Any],
) -> ScoresAnswer:
    """Score pairs of a problem."""
    return await _scores(client, organization_id, subject, {"problem": problem, "pairs": pairs})


async def best_of(
    client: ServiceClient,
    *,
    organization_id: UUID,
    subject: str,
    problem: Mapping[str, Any],
    about: str,
    limit: int,
) -> ScoresAnswer:
    """Score everybody whom the rules let somebody meet, the best first."""
    body = {"problem": problem, "about": about, "limit": limit}
    return await _scores(client, organization_id, subject, body)


async def _scores(
    client: ServiceClient, organization_id: UUID, subject: str, body: Mapping[str, Any]
) -> ScoresAnswer:
    answer = await _call(
        client, "/v1/scores", organization_id=organization_id, subject=subject, body=body
    )
    return ScoresAnswer.model_validate_json(answer.content)


async def explain(
    client: ServiceClient,
    *,
    organization_id: UUID,
    subject: str,
    problem: Mapping[str, Any],
    pairs: Mapping[str, Any],
    with_what_if: bool = False,
) -> ExplanationsAnswer:
    """Explain pairs of a problem against its solution, and on demand what forcing each would do."""
    answer = await _call(
        client,
        "/v1/explanations",
        organization_id=organization_id,
        subject=subject,
        body={"problem": problem, "pairs": pairs, "with_what_if": with_what_if},
    )
    return ExplanationsAnswer.model_validate_json(answer.content)


async def check_policy(
    client: ServiceClient,
    *,
    organization_id: UUID,
    subject: str,
    policy: Mapping[str, Any],
    problem: Mapping[str, Any] | None = None,
) -> PolicyCheckAnswer:
    """Judge a policy by itself, or by what it does to the pool of a problem."""
    answer = await _call(
        client,
        "/v1/policy-checks",
        organization_id=organization_id,
        subject=subject,
        body={"policy": policy, "problem": problem},
    )
    return PolicyCheckAnswer.model_validate_json(answer.content)


async def embed(
    client: ServiceClient, *, organization_id: UUID, texts: Sequence[str]
) -> EmbeddingsAnswer:
    """Turn at most `MAX_TEXTS` texts into vectors; none of them may be confidential.

    Where no model has vectors this is an `InvalidError`.
    """
    answer = await _call(
        client,
        "/v1/embeddings",
        organization_id=organization_id,
        subject=RUNS,
        body={"texts": texts},
    )
    return EmbeddingsAnswer.model_validate_json(answer.content)


async def _call(
    client: ServiceClient, path: str, *, organization_id: UUID, subject: str, body: Any
) -> httpx.Response:
    answer = await client.call(
        "POST",
        path,
        organization_id=organization_id,
        subject=subject,
        body=body,
        read_seconds=QUESTION_SECONDS,
    )
    if answer.is_success:
        return answer
    raise _refusal(answer)


def _parsed(text: str) -> Line:
    try:
        return _LINE.validate_json(text)
    except ValidationError:
        # Half a line is what is left when the other side dies while it writes.
        raise _unavailable() from None


def _refusal(answer: httpx.Response) -> Exception:
    body = answer.json()
    faults = [Fault.model_validate(one) for one in body.get("errors", [])]
    return _fault(answer.status_code, body.get("code", "invalid_request"), faults)


def _fault(status: int, code: str, faults: list[Fault]) -> Exception:
    if code == TOO_LONG:
        return ConflictError("Matching took too long over this.", code=code)
    if status == httpx.codes.BAD_REQUEST:
        errors = [Violation(one.pointer, one.code, one.detail) for one in faults]
        return InvalidError("Matching cannot work on this.", code=code, errors=errors)
    # Too busy, a token that is not believed, or what only an operator can mend.
    return _unavailable()


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "Matching does not answer right now; try again shortly.",
        code="matching_unavailable",
        headers={"Retry-After": "5"},
    )
