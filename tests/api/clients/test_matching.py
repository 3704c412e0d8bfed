"""What the api asks of matching, answered by the real service over a real socket."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from services.api.clients import matching
from services.matching import text
from shared.errors import InvalidError, UnavailableError
from shared.http import ServiceClient
from shared.schemas.matching import ProgressLine
from tests.support.matching_server import Matching, running_matching
from tests.support.pools import problem


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[Matching]:
    """Run matching for this module."""
    async with running_matching() as found:
        yield found


@pytest.fixture
async def client(running: Matching) -> AsyncIterator[ServiceClient]:
    """Return a caller of it."""
    made = running.client()
    yield made
    await made.close()


async def ignore(_line: ProgressLine) -> None:
    """Take no note of progress."""


async def test_a_problem_is_solved_with_progress_on_the_way(client: ServiceClient) -> None:
    phases: list[str] = []

    async def note(line: ProgressLine) -> None:
        phases.append(line.phase)

    line = await matching.solve(
        client, organization_id=uuid4(), problem=problem(), on_progress=note
    )

    assert phases != []
    assert len(line.solution.matches) == 3
    assert line.digest


async def test_what_progress_raises_ends_the_call(client: ServiceClient) -> None:
    async def refuse(_line: ProgressLine) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await matching.solve(client, organization_id=uuid4(), problem=problem(), on_progress=refuse)


async def test_what_is_wrong_with_a_problem_is_named_by_pointers(client: ServiceClient) -> None:
    broken = problem() | {"format": "unheard_of"}

    with pytest.raises(InvalidError) as refused:
        await matching.solve(client, organization_id=uuid4(), problem=broken, on_progress=ignore)
    assert refused.value.errors[0].pointer.startswith("#/format")


async def test_pairs_are_scored_and_explained(client: ServiceClient) -> None:
    pairs = {"first": ["mentor-0"], "second": ["mentee-1"]}
    asked = {"organization_id": uuid4(), "subject": "somebody"}

    scores = await matching.score(client, **asked, problem=problem(), pairs=pairs)  # type: ignore[arg-type]  # mixed values
    answer = await matching.explain(client, **asked, problem=problem(), pairs=pairs)  # type: ignore[arg-type]  # as above

    assert (scores.pairs[0].first, scores.pairs[0].second) == ("mentor-0", "mentee-1")
    assert answer.explanations[0].score == scores.pairs[0].score


@pytest.mark.skipif(text.WORDS not in text.names(), reason="no model here has vectors")
async def test_texts_are_turned_into_vectors(client: ServiceClient) -> None:
    answer = await matching.embed(client, organization_id=uuid4(), texts=["Head of data", ""])

    assert (answer.model, answer.dimensions, len(answer.vectors)) == (text.WORDS, 128, 2)


async def test_a_policy_is_judged_by_itself(client: ServiceClient) -> None:
    judged = await matching.check_policy(
        client,
        organization_id=uuid4(),
        subject="somebody",
        policy={"soft": [{"rule": "unheard_of", "weight": 10}]},
    )

    assert judged.valid is False
    assert judged.faults != []


async def test_nobody_at_the_other_end_is_an_unavailable_service(running: Matching) -> None:
    nobody = running.client_of_nobody()

    with pytest.raises(UnavailableError) as refused:
        await matching.solve(nobody, organization_id=uuid4(), problem=problem(), on_progress=ignore)
    assert refused.value.code == "matching_unavailable"
    assert refused.value.headers == {"Retry-After": "5"}
    await nobody.close()


async def test_a_stranger_s_key_is_not_believed(running: Matching) -> None:
    async with running_matching() as other:
        stranger = other.client(url=running.url)
        with pytest.raises(UnavailableError):
            await matching.score(
                stranger,
                organization_id=uuid4(),
                subject="somebody",
                problem=problem(),
                pairs={"first": ["mentor-0"], "second": ["mentee-0"]},
            )
        await stranger.close()
