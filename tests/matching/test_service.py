"""The service over HTTP: who may call, what comes back, and what ends the work."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

from services.matching import solver, text
from services.matching.pool import Pool
from services.matching.routes import PATHS
from shared.ids import new_id
from shared.schemas.matching import (
    CirclesLine,
    DrawLine,
    FormLine,
    ScheduleLine,
    SolutionLine,
)
from tests.support.pools import (
    circles,
    flash,
    peers,
    post,
    problem,
    running,
    served,
    settings,
    token,
    until,
)

FORM_LINE: TypeAdapter[FormLine] = TypeAdapter(FormLine)

SOLUTIONS = "/v1/solutions"
FORMS = {
    "circles": circles(),
    "schedules": flash(),
    "draws": peers(7),
}
"""The forms beside solutions: the end of their path, and a problem of each."""


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings()) as (_, client):
        yield client


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def heavy() -> dict[str, Any]:
    """Return a problem that takes far longer than a test waits."""
    return peers(1800, objective="fair_floor")


async def test_a_solution_comes_after_lines_of_progress(http: httpx.AsyncClient) -> None:
    answer = await post(http, SOLUTIONS, problem())

    told = lines(answer)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert {line["type"] for line in told[:-1]} == {"progress"}
    last = SolutionLine.model_validate(told[-1])
    assert last.digest == solver.digest_of(last.solution)
    assert len(last.solution.matches) == 3


async def test_the_same_problem_twice_is_the_same_bytes(http: httpx.AsyncClient) -> None:
    first, again = [lines(await post(http, SOLUTIONS, problem(mentors=20))) for _ in range(2)]

    assert first[-1]["digest"] == again[-1]["digest"]
    assert first[-1]["solution"] == again[-1]["solution"]


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_comes_in_without_a_token(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.post(path, content=b"{}")

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_token_is_good_for_one_body_and_once(http: httpx.AsyncClient) -> None:
    body = json.dumps(problem()).encode()
    headers = {"Authorization": f"Bearer {token(SOLUTIONS, body)}"}

    answers = [
        await http.post(SOLUTIONS, content=content, headers=headers)
        for content in (body + b" ", body, body)
    ]

    assert [answer.status_code for answer in answers] == [401, 200, 401]


@pytest.mark.parametrize(
    "claims", [{"audience": "service:notifications"}, {"path": "/v1/scores"}, {"method": "GET"}]
)
async def test_a_token_for_something_else_is_refused(
    http: httpx.AsyncClient, claims: dict[str, str]
) -> None:
    headers = {"Authorization": f"Bearer {token(SOLUTIONS, b'{}', claims=claims)}"}

    answer = await http.post(SOLUTIONS, content=b"{}", headers=headers)

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"{", "invalid_json", "#"),
        (b"[]", "invalid_request", "#"),
        ({**problem(), "format": "circle"}, "invalid_request", "#/format"),
        ({**problem(), "places": {}}, "invalid_request", "#/places/participant"),
        (
            problem(locks={"first": ["mentor-0"] * 2, "second": ["mentee-0", "mentee-1"]}),
            "invalid_request",
            "#/locks/first/0",
        ),
    ],
)
async def test_what_is_wrong_is_a_problem_document_with_pointers(
    http: httpx.AsyncClient, body: Any, code: str, pointer: str
) -> None:
    answer = await post(http, SOLUTIONS, body)

    refused = answer.json()
    assert (answer.status_code, refused["code"]) == (400, code)
    assert pointer in {one["pointer"] for one in refused["errors"]}


async def test_a_problem_above_the_limit_is_refused_unread() -> None:
    async with running(settings(matching_max_bytes=1024)) as (app, http):
        answer = await post(http, SOLUTIONS, problem(mentors=50))

        assert (answer.status_code, answer.json()["code"]) == (413, "content_too_large")
        assert app.state.pool.pids == []


# The forms.


@pytest.mark.parametrize("form", FORMS)
async def test_a_form_is_answered_in_lines_and_twice_the_same(
    http: httpx.AsyncClient, form: str
) -> None:
    first, again = [await post(http, f"/v1/{form}", FORMS[form]) for _ in range(2)]

    told = [FORM_LINE.validate_json(line) for line in first.text.splitlines()]
    kinds = [line.type for line in told]
    last = told[-1]
    assert (first.status_code, set(kinds[:-1])) == (200, {"progress"})
    assert isinstance(last, CirclesLine | ScheduleLine | DrawLine)
    assert form.startswith(last.type)
    assert last.digest == solver.digest_of(getattr(last, last.type))
    assert last.digest == lines(again)[-1]["digest"]


@pytest.mark.parametrize(
    ("form", "body", "pointer"),
    [
        ("circles", problem(), "#/format"),
        ("circles", circles(track={"min_members": 6, "max_members": 5}), "#/track/min_members"),
        ("circles", circles(facilitators=3), "#/facilitators"),
        (
            "circles",
            circles(there={"id": ["nobody"], "role": ["mentee"], "circle": [0]}),
            "#/there/id/0",
        ),
        ("schedules", circles(), "#/rounds"),
        ("schedules", flash(rounds=0), "#/rounds"),
        ("draws", circles(), "#/format"),
    ],
)
async def test_what_is_wrong_with_a_form_is_a_problem_document_with_pointers(
    http: httpx.AsyncClient, form: str, body: Any, pointer: str
) -> None:
    answer = await post(http, f"/v1/{form}", body)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert pointer in {one["pointer"] for one in answer.json()["errors"]}


async def test_forms_take_places_like_solutions() -> None:
    async with running(settings(matching_workers=1, matching_queue=0)) as (app, http):
        busy = asyncio.create_task(post(http, SOLUTIONS, heavy()))
        await settled(app.state.pool)

        refused = [await post(http, f"/v1/{form}", values) for form, values in FORMS.items()]
        busy.cancel()

        assert {answer.status_code for answer in refused} == {503}


async def test_the_forming_of_circles_ends_when_the_caller_goes_away() -> None:
    body = json.dumps(circles(200, 1200, 300, track={})).encode()
    headers = {"Authorization": f"Bearer {token('/v1/circles', body)}"}
    async with served(settings()) as (app, url), httpx.AsyncClient(trust_env=False) as http:
        target = f"{url}/v1/circles"
        async with http.stream("POST", target, content=body, headers=headers) as answer:
            await anext(answer.aiter_lines())
            (pid,) = app.state.pool.pids

        await until(lambda: not is_alive(pid), seconds=2)

        assert app.state.pool.pids == []


# Other questions.


async def test_the_best_for_somebody_come_first(http: httpx.AsyncClient) -> None:
    body = {"problem": problem(mentors=5), "about": "mentee-1", "limit": 3}

    answer = await post(http, "/v1/scores", body)

    found = answer.json()["pairs"]
    assert [pair["second"] for pair in found] == ["mentee-1"] * 3
    assert [pair["score"] for pair in found] == sorted(
        (pair["score"] for pair in found), reverse=True
    )
    assert all(
        round(sum(part["points"] for part in pair["parts"]), 2) == pair["score"] for pair in found
    )


async def test_a_pair_that_is_not_there_is_explained(http: httpx.AsyncClient) -> None:
    values = problem(mentors=3, mentees=3)
    solution = lines(await post(http, SOLUTIONS, values))[-1]["solution"]
    kept = [[member["id"] for member in match["members"]] for match in solution["matches"]]
    asked = {"first": [kept[0][0], kept[0][0]], "second": [kept[0][1], kept[1][1]]}

    answer = await post(
        http, "/v1/explanations", {"problem": values, "pairs": asked, "with_what_if": True}
    )

    together, apart = answer.json()["explanations"]
    assert (together["matched"], together["why_not"]) == (True, [])
    assert apart["matched"] is False
    assert {reason["key"] for reason in apart["why_not"]} == {"why_not.placed_instead"}
    assert 0 <= apart["costs_at_least"] <= -apart["what_if"]["change"]
    assert apart["what_if"]["possible"] is True
    assert apart["what_if"]["change"] <= 0
    gained = {(pair["first"], pair["second"]) for pair in apart["what_if"]["gained"]}
    assert (kept[0][0], kept[1][1]) in gained
    assert together["alternatives"]


async def test_a_pair_kept_apart_names_the_rule(http: httpx.AsyncClient) -> None:
    values = problem(blocks={"first": ["mentor-0"], "second": ["mentee-0"]})
    body = {
        "problem": values,
        "pairs": {"first": ["mentee-0"], "second": ["mentor-0"]},
        "with_what_if": True,
    }

    explained = (await post(http, "/v1/explanations", body)).json()["explanations"][0]

    assert [reason["rule"] for reason in explained["why_not"]] == ["not_blocked"]
    assert explained["what_if"] == {
        "possible": False,
        "reasons": explained["broken"],
        "change": None,
        "gained": [],
        "lost": [],
    }


async def test_a_pair_for_which_no_place_is_left_says_whose(http: httpx.AsyncClient) -> None:
    values = problem(seats=[1, 0, 1], locks={"first": ["mentor-0"], "second": ["mentee-0"]})
    pairs = {"first": ["mentor-0", "mentor-1"], "second": ["mentee-1", "mentee-0"]}
    body = {"problem": values, "pairs": pairs, "with_what_if": True}

    answer = (await post(http, "/v1/explanations", body)).json()["explanations"]

    told = [[(one["key"], one["params"]) for one in two["what_if"]["reasons"]] for two in answer]
    assert told == [
        [("why_not.places_locked", {"who": "mentor-0"})],
        [
            ("why_not.no_place", {"who": "mentor-1"}),
            ("why_not.places_locked", {"who": "mentee-0"}),
        ],
    ]
    assert [two["why_not"] for two in answer] == [two["what_if"]["reasons"] for two in answer]
    assert [two["costs_at_least"] for two in answer] == [None, None]


@pytest.mark.parametrize("locked", ["mentee-0", "mentee-1", "mentee-2"])
async def test_who_is_locked_gives_way_to_nobody(http: httpx.AsyncClient, locked: str) -> None:
    locks = {"first": ["mentor-0"], "second": [locked]}
    values = problem(mentors=1, mentees=3, seats=[2], locks=locks)
    solution = lines(await post(http, SOLUTIONS, values))[-1]["solution"]
    chosen = {one["members"][1]["id"] for one in solution["matches"]}
    (left,) = (one["id"] for one in solution["unmatched"])
    body = {"problem": values, "pairs": {"first": ["mentor-0"], "second": [left]}}

    (told,) = (await post(http, "/v1/explanations", body)).json()["explanations"]

    assert [{one["params"]["instead"]} for one in told["why_not"]] == [chosen - {locked}]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whoever_is_locked_the_loss_is_never_less_than_said(
    http: httpx.AsyncClient, seed: int
) -> None:
    locks = {"first": ["mentor-0", "mentor-1"], "second": ["mentee-0", "mentee-1"]}
    values = problem(
        mentors=4, mentees=5, seats=[2, 1, 1, 1], seed=seed, objective="best_total", locks=locks
    )
    everybody = [(f"mentor-{one}", f"mentee-{other}") for one in range(4) for other in range(5)]
    body = {
        "problem": values,
        "pairs": {"first": [one for one, _ in everybody], "second": [two for _, two in everybody]},
        "with_what_if": True,
    }

    told = (await post(http, "/v1/explanations", body)).json()["explanations"]

    loss = {
        (one["first"], one["second"]): -one["what_if"]["change"]
        for one in told
        if one["what_if"]["possible"] and not one["matched"]
    }
    bounds = {
        (one["first"], one["second"]): one["costs_at_least"]
        for pair in told
        for one in pair["alternatives"]
    }
    assert bounds.keys() == loss.keys()
    assert all(0 <= bound <= loss[pair] + 0.005 for pair, bound in bounds.items())


async def test_a_pair_that_was_given_up_for_one_more_says_for_how_few_points(
    http: httpx.AsyncClient,
) -> None:
    values = problem(mentors=2, mentees=2, blocks={"first": ["mentor-1"], "second": ["mentee-1"]})
    rule = {"rule": "attribute_equal", "params": {"attribute": "department"}, "weight": 1}
    values["policy"]["soft"] = [rule]
    values["participants"]["department"] = ["law", "sales", "law", "data"]
    body = {"problem": values, "pairs": {"first": ["mentor-0"], "second": ["mentee-0"]}}

    (told,) = (await post(http, "/v1/explanations", body)).json()["explanations"]

    assert [(one["key"], one["params"]) for one in told["why_not"]] == [
        ("why_not.placed_instead", {"who": who, "instead": instead, "points": -100.0})
        for who, instead in (("mentor-0", "mentee-1"), ("mentee-0", "mentor-1"))
    ]


@pytest.mark.parametrize("path", ["/v1/scores", "/v1/explanations"])
async def test_somebody_unknown_is_a_fault(http: httpx.AsyncClient, path: str) -> None:
    pairs = {"first": ["nobody"], "second": ["mentee-0"]}

    answer = await post(http, path, {"problem": problem(), "pairs": pairs})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "unknown_reference"


IMPOSSIBLE = problem(
    locks={"first": ["mentor-2", "mentor-0"], "second": ["mentee-2", "mentee-0"]},
    blocks={"first": ["mentor-0"], "second": ["mentee-0"]},
)
"""A problem whose second lock breaks a rule; in canonical order it is the first."""


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/scores", {"about": "mentor-0"}),
        ("/v1/explanations", {"pairs": {"first": ["mentor-0"], "second": ["mentee-0"]}}),
        ("/v1/policy-checks", {"policy": {}}),
    ],
)
@pytest.mark.parametrize(
    ("values", "pointer"),
    [
        (IMPOSSIBLE, "#/problem/locks/first/1"),
        ({**problem(), "format": "circle"}, "#/problem/format"),
        ({**problem(), "places": {}}, "#/problem/places/participant"),
    ],
)
async def test_what_is_wrong_with_a_problem_is_pointed_at_inside_the_question(
    http: httpx.AsyncClient, path: str, asked: dict[str, Any], values: dict[str, Any], pointer: str
) -> None:
    answer = await post(http, path, {"problem": values, **asked})

    assert answer.status_code == 400
    assert pointer in {one["pointer"] for one in answer.json()["errors"]}


async def test_what_is_wrong_with_a_question_is_pointed_at_beside_its_problem(
    http: httpx.AsyncClient,
) -> None:
    answer = await post(http, "/v1/scores", {"problem": problem(), "about": "nobody"})

    assert [one["pointer"] for one in answer.json()["errors"]] == ["#/about"]


async def test_a_policy_is_judged_on_its_own_and_on_a_pool(http: httpx.AsyncClient) -> None:
    policy = {
        **problem()["policy"],
        "hard": [
            {"rule": "attribute_equal", "params": {"attribute": "department"}},
            {"rule": "attribute_different", "params": {"attribute": "department"}},
        ],
        "tests": [
            {"name": "they may", "people": ["mentee-0", "mentor-0"], "expect": {"allowed": True}},
            {
                "name": "too good",
                "people": ["mentor-0", "mentee-0"],
                "expect": {"score_at_least": 101},
            },
            {"name": "who?", "people": ["mentor-0", "nobody"], "expect": {"allowed": True}},
            {"name": "both?", "people": ["mentor-0", "mentor-1"], "expect": {"allowed": False}},
            {"name": "what?", "people": ["mentor-0", "mentee-0"], "expect": {"happy": True}},
        ],
    }
    alone = (await post(http, "/v1/policy-checks", {"policy": policy})).json()
    on_pool = (
        await post(http, "/v1/policy-checks", {"policy": policy, "problem": problem()})
    ).json()
    broken = (
        await post(http, "/v1/policy-checks", {"policy": {"hard": [{"rule": "luck"}]}})
    ).json()

    assert [one["key"] for one in alone["warnings"]] == ["doubt.contradiction"]
    assert [one["passed"] for one in on_pool["tests"]] == [True, False, False, False, False]
    assert [one["found"].get("problem") for one in on_pool["tests"]] == [
        *(None, None, "not_in_pool", "not_across", "unknown_expectation"),
    ]
    assert on_pool["allowed_pairs"] == on_pool["pairs"] == 9
    assert (broken["valid"], broken["faults"][0]["code"]) == (False, "unknown_rule")


async def test_texts_are_turned_into_vectors_that_a_problem_takes(http: httpx.AsyncClient) -> None:
    values = problem()
    texts = [f"works with data, {name}" for name in values["participants"]["id"]]

    answer = await post(http, "/v1/embeddings", {"texts": texts})

    if text.WORDS not in text.names():
        assert answer.json()["errors"][0]["code"] == "no_vectors"
        return
    made = answer.json()
    values["participants"] |= {
        "path_now": texts,
        "path_now_vector": made["vectors"],
        "vector_model": made["model"],
    }
    solved = lines(await post(http, SOLUTIONS, values))[-1]
    assert (made["dimensions"], len(made["vectors"])) == (128, 6)
    assert solved["type"] == "solution"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"texts": ["word"] * 1001}, "#/texts"),
        ({"texts": ["w" * 1001]}, "#/texts/0"),
        ({"texts": [None]}, "#/texts/0"),
        ({}, "#/texts"),
        ({"texts": [], "model": "tea-leaves"}, "#/model"),
    ],
)
async def test_too_many_or_too_long_texts_are_refused(
    http: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    answer = await post(http, "/v1/embeddings", body)

    assert answer.status_code == 400
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


# What ends the work.


async def settled(pool: Pool) -> None:
    """Wait until a worker is busy."""
    await until(lambda: bool(pool.pids))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_more_than_can_wait_is_refused_at_once() -> None:
    async with running(settings(matching_workers=1, matching_queue=0)) as (app, http):
        busy = asyncio.create_task(post(http, SOLUTIONS, heavy()))
        await settled(app.state.pool)

        refused = [await post(http, SOLUTIONS, problem()) for _ in range(10)]
        busy.cancel()

        assert {answer.status_code for answer in refused} == {503}
        assert {answer.headers["Retry-After"] for answer in refused} == {"5"}
        assert {answer.json()["code"] for answer in refused} == {"overloaded"}


async def test_one_organization_cannot_take_all_places() -> None:
    ours = new_id()
    async with running(settings(matching_organization_share=1)) as (app, http):
        busy = asyncio.create_task(post(http, SOLUTIONS, heavy(), organization=ours))
        await settled(app.state.pool)

        refused = await post(http, SOLUTIONS, problem(), organization=ours)
        served = await post(http, SOLUTIONS, problem())
        busy.cancel()

        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
        assert served.status_code == 200


async def test_time_is_up_and_the_worker_gone() -> None:
    async with running(settings(matching_deadline_seconds=1.0)) as (app, http):
        answer = await post(http, SOLUTIONS, heavy())

        code = answer.json()["code"] if answer.status_code != 200 else lines(answer)[-1]["code"]
        assert code == "deadline_exceeded"
        assert app.state.pool.pids == []


async def test_a_policy_may_shorten_its_time() -> None:
    values = heavy()
    values["policy"]["limits"] = {"time_s": 1}
    async with running(settings()) as (_, http):
        told = lines(await post(http, SOLUTIONS, values))

        assert (told[-1]["type"], told[-1]["status"]) == ("failure", 503)
        assert told[-1]["code"] == "deadline_exceeded"


async def _first_worker(app: FastAPI, work: "asyncio.Task[httpx.Response]") -> int:
    await settled(app.state.pool)
    assert not work.done()
    pid: int = app.state.pool.pids[0]
    return pid


async def test_a_killed_worker_is_told_and_replaced() -> None:
    async with running(settings(matching_workers=1)) as (app, http):
        work = asyncio.create_task(post(http, SOLUTIONS, heavy()))
        os.kill(await _first_worker(app, work), signal.SIGKILL)

        answer = await work
        healed = await post(http, SOLUTIONS, problem())

        code = answer.json()["code"] if answer.status_code != 200 else lines(answer)[-1]["code"]
        assert code == "worker_lost"
        assert healed.status_code == 200


async def test_an_idle_worker_that_died_is_replaced() -> None:
    async with running(settings(matching_workers=1)) as (app, http):
        await post(http, SOLUTIONS, problem())
        (pid,) = app.state.pool.pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_alive(pid))

        assert (await post(http, SOLUTIONS, problem())).status_code == 200


async def test_idle_workers_are_retired() -> None:
    async with running(settings(matching_idle_seconds=0.05)) as (app, http):
        await post(http, SOLUTIONS, problem())

        await until(lambda: not app.state.pool.pids)


async def test_silence_is_filled_with_heartbeats() -> None:
    async with running(settings(matching_heartbeat_seconds=0.1, matching_deadline_seconds=3)) as (
        _,
        http,
    ):
        told = lines(await post(http, SOLUTIONS, heavy()))

        assert len(told) > 5
        assert told[-1]["type"] == "failure"


async def test_the_work_ends_when_the_caller_goes_away() -> None:
    body = json.dumps(heavy()).encode()
    headers = {"Authorization": f"Bearer {token(SOLUTIONS, body)}"}
    async with served(settings()) as (app, url), httpx.AsyncClient(trust_env=False) as http:
        async with http.stream("POST", url + SOLUTIONS, content=body, headers=headers) as answer:
            await anext(answer.aiter_lines())
            (pid,) = app.state.pool.pids

        await until(lambda: not is_alive(pid), seconds=2)

        assert app.state.pool.pids == []


async def test_it_is_alive_and_ready_without_a_token(http: httpx.AsyncClient) -> None:
    answers = [await http.get(path) for path in ("/livez", "/readyz")]

    assert [answer.status_code for answer in answers] == [200, 200]


async def test_forms_that_hold_all_pairs_take_fewer_than_solutions(
    http: httpx.AsyncClient,
) -> None:
    answer = await post(http, "/v1/draws", peers(4_001))

    assert answer.status_code == 400
    assert {one["code"] for one in answer.json()["errors"]} == {"too_many_pairs"}
