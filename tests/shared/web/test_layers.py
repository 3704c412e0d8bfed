"""The layers around an application, each on a small application of its own."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import structlog
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.web import problems, requests, responses
from shared.web.admission import AdmissionMiddleware
from shared.web.application import CORS_EXPOSED, Frame, equip
from shared.web.bodies import MAX_BODY_BYTES
from shared.web.callers import Callers
from shared.web.openapi import Product, describe, publish
from shared.web.reference import install_reference

ORIGIN = "https://app.example.org"
LARGER_BYTES = 3 * MAX_BODY_BYTES


class Holder(NamedTuple):
    """Whom a door has let in."""

    principal: str
    person_id: str = "somebody"
    organization_id: str = "example"


def small_app(**frame: Any) -> FastAPI:
    """Return an application with one resource, a secret, a fault and an upload."""
    public = FastAPI(title="Small", docs_url=None, redoc_url=None, redirect_slashes=False)

    @public.get("/thing", tags=["things"])
    async def get_thing(request: Request) -> Response:
        if (shown := request.headers.get("Authorization", "")).startswith("Bearer good-of-"):
            request.state.actor = Holder(principal=shown)
        return responses.one({"text": "a" * 2000}, version=7)

    @public.post("/thing", tags=["things"])
    async def make_thing(request: Request) -> Response:
        return responses.one({"bytes": len(await request.body())})

    @public.post("/secret", tags=["things"])
    async def make_secret() -> Response:
        return responses.secret(
            {"secret": "s" * 2000}, field="secret", version=1, location="/v1/secret"
        )

    @public.get("/fault", tags=["things"])
    async def fail() -> Response:
        raise RuntimeError("holds a value")

    about = Product("an-id", "Small.", "Small.", {}, {"things": "Things."})
    publish(public, lambda: describe(public, about))
    install_reference(public)
    root = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    larger = {"/v1/thing/upload": LARGER_BYTES}
    options: dict[str, Any] = {
        "connections": 10,
        "cors_origins": (ORIGIN,),
        "larger": larger,
    } | frame
    equip(root, public, prefix="/v1", frame=Frame(**options))

    @root.get("/livez")
    async def livez() -> Response:
        return Response(b"alive")

    public.add_api_route("/thing/upload", make_thing, methods=["POST"], tags=["things"])
    root.mount("/v1", public.router)
    return root


def calling(app: ASGIApp, **options: Any) -> httpx.AsyncClient:
    """Return a client of an application."""
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://api.test", **options)


@pytest.fixture
def http() -> httpx.AsyncClient:
    """Return a client of the small application."""
    return calling(small_app())


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Return what is logged; a logger that another test has used keeps that test's level."""
    configured = structlog.get_config()
    structlog.reset_defaults()
    for module in (problems, requests):
        monkeypatch.setattr(module, "logger", structlog.get_logger())
    with structlog.testing.capture_logs() as found:
        yield found
    structlog.configure(**configured)


def code_of(answer: httpx.Response) -> str:
    """Return the code of a problem."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    code: str = answer.json()["code"]
    return code


async def test_every_answer_carries_our_own_id(http: httpx.AsyncClient) -> None:
    seen = set()
    for path in ("/v1/thing", "/v1/nothing", "/nothing", "/v1/fault", "/livez", "/v1%0A/thing"):
        answer = await http.get(path, headers={"Request-Id": "theirs"})
        assert len(answer.headers["Request-Id"]) == 26, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert answer.headers["Strict-Transport-Security"], path
        seen.add(answer.headers["Request-Id"])
    assert len(seen) == 6


async def test_a_read_is_private_and_a_refusal_is_never_stored(http: httpx.AsyncClient) -> None:
    read, refused = await http.get("/v1/thing"), await http.get("/v1/nothing")
    assert read.headers["Cache-Control"] == "private, no-cache"
    assert refused.headers["Cache-Control"] == "no-store"
    for name in ("Accept-Encoding", "Accept-Language", "Authorization", "Origin"):
        assert name in read.headers["Vary"]


async def test_a_request_is_logged_once_in_ids_only(
    http: httpx.AsyncClient, lines: list[Any]
) -> None:
    answer = await http.get("/v1/thing?q=confided")
    [line] = [one for one in lines if one["event"] == "request"]
    assert line["operation"] == "get_thing"
    assert line["status"] == answer.status_code
    assert "confided" not in json.dumps(line)


async def test_a_fault_tells_nobody_its_values(http: httpx.AsyncClient, lines: list[Any]) -> None:
    answer = await http.get("/v1/fault")
    assert (answer.status_code, code_of(answer)) == (500, "internal_error")
    assert "holds a value" not in answer.text + json.dumps(lines)
    [line] = [one for one in lines if one["event"] == "internal_error"]
    assert line["error_type"] == "RuntimeError"
    assert line["place"].startswith("test_layers.py:")


async def test_a_quota_is_counted_down_and_then_refused() -> None:
    headers = {"Authorization": "Bearer good-of-one", "Origin": ORIGIN}
    http = calling(small_app(rate_limit=2), headers=headers)
    first, second, third = [await http.get("/v1/thing") for _ in range(3)]
    assert first.headers["RateLimit-Policy"] == '"default";q=2;w=60'
    assert first.headers["RateLimit"].startswith('"default";r=1;')
    assert second.headers["RateLimit"].startswith('"default";r=0;')
    assert (third.status_code, code_of(third)) == (429, "rate_limited")
    assert 1 <= int(third.headers["Retry-After"]) <= 30
    # The page that asked must be able to read why it was refused.
    assert third.headers["Access-Control-Allow-Origin"] == ORIGIN
    other = await http.get("/v1/thing", headers={"Authorization": "Bearer good-of-another"})
    assert other.status_code == 200


async def test_a_credential_counts_for_its_holder_once_it_was_found_to_be_good() -> None:
    http = calling(small_app(network_rate_limit=3))

    async def ask(credential: str) -> httpx.Response:
        return await http.get("/v1/thing", headers={"Authorization": credential})

    # Each is new, and none of them takes anything from its network in the end.
    for number in range(10):
        answer = await ask(f"Bearer good-of-{number}")
        assert answer.headers["RateLimit-Policy"] == '"default";q=600;w=60'
        assert answer.headers["RateLimit"].startswith('"default";r=599;')
    junk = [await ask(f"Junk {number}") for number in range(4)]
    assert [one.status_code for one in junk] == [200, 200, 200, 429]
    assert junk[0].headers["RateLimit-Policy"] == '"default";q=3;w=60'
    # Whoever is known goes on, whatever strangers of the same network do.
    assert (await ask("Bearer good-of-0")).status_code == 200


async def test_health_is_asked_without_a_quota() -> None:
    http = calling(small_app(network_rate_limit=1))
    assert [(await http.get("/livez")).status_code for _ in range(3)] == [200, 200, 200]


class Held:
    """An application whose requests wait until they are let go, each for one organization."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.inside = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.inside.release()
        await self.go.wait()
        await Response(b"done")(scope, receive, send)


class OneOrganization(Callers):
    """Knows every caller as one of the same organization."""

    def of(self, scope: Scope) -> Any:
        """Return the same caller always."""
        return super().of(scope)._replace(organization="one")


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    """Return an application that is let go at the end."""
    app = Held()
    yield app
    app.go.set()


@pytest.mark.parametrize(("callers", "room"), [(Callers, 4), (OneOrganization, 2)])
async def test_above_the_limit_a_request_hears_so_at_once(
    held: Held, callers: type[Callers], room: int
) -> None:
    http = calling(AdmissionMiddleware(held, connections=1, callers=callers.none_yet()))
    waiting = [asyncio.create_task(http.get("/v1/thing")) for _ in range(room)]
    for _ in waiting:
        await held.inside.acquire()
    refused = await http.get("/v1/thing")
    assert (refused.status_code, code_of(refused)) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    held.go.set()
    assert {one.status_code for one in await asyncio.gather(*waiting)} == {200}
    assert (await http.get("/v1/thing")).status_code == 200


async def test_a_request_beyond_its_deadline_is_ended(held: Held) -> None:
    app = AdmissionMiddleware(
        held, connections=1, callers=Callers.none_yet(), deadline_seconds=0.01
    )
    answer = await calling(app).get("/v1/thing")
    assert (answer.status_code, code_of(answer)) == (503, "deadline_exceeded")


async def chunks(count: int) -> AsyncIterator[bytes]:
    """Send a body whose length nobody announced."""
    for _ in range(count):
        yield b"x" * 1024 * 512


@pytest.mark.parametrize("body", [b"x" * (MAX_BODY_BYTES + 1), 4], ids=["announced", "chunked"])
async def test_a_body_that_is_too_large_is_refused(
    http: httpx.AsyncClient, body: bytes | int
) -> None:
    content = chunks(body) if isinstance(body, int) else body
    answer = await http.post("/v1/thing", content=content)
    assert (answer.status_code, code_of(answer)) == (413, "content_too_large")


async def test_an_upload_may_be_larger_but_not_endless(http: httpx.AsyncClient) -> None:
    taken = await http.post("/v1/thing/upload", content=chunks(5))
    assert taken.json() == {"bytes": 5 * 1024 * 512}
    refused = await http.post("/v1/thing/upload", content=chunks(7))
    assert (refused.status_code, code_of(refused)) == (413, "content_too_large")


async def test_a_body_on_its_way_takes_no_place_from_anybody() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        begun.set()
        yield b"half"
        await go.wait()
        yield b" of it"

    http = calling(small_app(connections=1))
    slow = [asyncio.create_task(http.post("/v1/thing", content=slowly())) for _ in range(20)]
    await begun.wait()
    for _ in range(3):
        assert (await http.get("/v1/thing")).status_code == 200
        assert (await http.post("/v1/thing", content=b"all of it")).json() == {"bytes": 9}
    go.set()
    # All at once, they are more than have places; those that have one were read whole.
    answers = [one for one in await asyncio.gather(*slow) if one.status_code == 200]
    assert answers
    assert all(one.json() == {"bytes": 10} for one in answers)


async def test_a_coded_body_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/v1/thing", content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}
    )
    assert (answer.status_code, code_of(answer)) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 33 + b"]" * 33, 400),
        (b"[" * 32 + b"]" * 32, 200),
        (b'{"a":"' + b"[" * 900 + b'"}', 200),
        (b'{"a":"\\"' + b"[" * 900 + b'"}', 200),
        (b"[" + b"[]," * 500 + b"[]]", 200),
        (b'"' + b"\\" * 99_999 + b"[" * 900, 200),
        (b'{"a": NaN}', 400),
        (b'{"a": "NaN"}', 200),
        (b'{"a": -Infinity}', 400),
        (b'{"a": ' + b"9" * 1001 + b"}", 400),
        (b'{"a": -' + b"9" * 1000 + b"}", 200),
        (b'{"a": "' + b"9" * 5000 + b'"}', 200),
        (b'{"a": "\xff"}', 400),
        (b"\xff\xfe{\x00}\x00", 400),
        ('{"a": 1}'.encode("utf-16-le"), 400),
        (b"\x00", 400),
        ('{"a": "Zo\u00eb"}'.encode(), 200),
        (b'{"a": 1, "a": 1}', 400),
        (b'{"a": 1, "\\u0061": 2}', 400),
        (b'{"b": [{"a": {"c": 1, "c": 2}}]}', 400),
        (b'[{"a": 1}, {"a": {"a": "a"}}]', 200),
        (b'{"a": "\\", \\"a\\": 1"}', 200),
    ],
)
async def test_what_no_json_reader_takes_is_refused_outside_of_strings_only(
    http: httpx.AsyncClient, body: bytes, status: int
) -> None:
    answer = await http.post(
        "/v1/thing", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    if status == 400:
        assert code_of(answer) == "invalid_json"


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ("", 200),
        ("; charset=utf-8", 200),
        (';charset="UTF-8"', 200),
        ("; charset=utf-16", 415),
        ("; charset=latin1", 415),
        ("; charset=utf-8; charset=utf-16", 415),
        ("; charset=", 415),
    ],
)
async def test_json_is_read_in_one_encoding(
    http: httpx.AsyncClient, parameters: str, status: int
) -> None:
    for body in (b"{}", "{}".encode("utf-16")) if status == 415 else (b"{}",):
        answer = await http.post(
            "/v1/thing", content=body, headers={"Content-Type": f"application/json{parameters}"}
        )
        assert answer.status_code == status
        if status == 415:
            assert code_of(answer) == "unsupported_media_type"


async def test_a_query_that_is_not_utf_8_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/thing?q=%ff%fe")
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")
    assert answer.json()["errors"][0]["pointer"] == "query"


async def test_headers_have_bounds(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/thing", headers={"Accept-Language": "x" * 9000})
    assert (answer.status_code, code_of(answer)) == (400, "invalid_request")


@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
async def test_a_large_answer_is_compressed(http: httpx.AsyncClient, coding: str) -> None:
    answer = await http.get("/v1/thing", headers={"Accept-Encoding": coding})
    assert answer.headers["Content-Encoding"] == coding
    assert "Accept-Encoding" in answer.headers["Vary"]


async def test_a_secret_is_never_compressed(http: httpx.AsyncClient) -> None:
    answer = await http.post("/v1/secret", headers={"Accept-Encoding": "gzip, br, zstd"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Content-Encoding" not in answer.headers
    assert len(answer.content) > 2000


@pytest.mark.parametrize("held_tag", ['"7"', 'W/"7"', '"6", "7"', "*"])
async def test_who_holds_the_version_is_not_sent_it_again(
    http: httpx.AsyncClient, held_tag: str
) -> None:
    answer = await http.get("/v1/thing", headers={"If-None-Match": held_tag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == '"7"'


async def test_an_older_version_is_sent_anew(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/thing", headers={"If-None-Match": '"6"'})
    assert answer.status_code == 200


async def test_a_known_origin_may_read_what_it_needs(http: httpx.AsyncClient) -> None:
    preflight = await http.options(
        "/v1/thing",
        headers={
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization, if-match, idempotency-key",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    answer = await http.get("/v1/thing", headers={"Origin": ORIGIN})
    assert answer.headers["Access-Control-Expose-Headers"] == ", ".join(CORS_EXPOSED)
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "method", "header"),
    [
        ("https://elsewhere.example", "GET", "authorization"),
        (ORIGIN, "TRACE", "authorization"),
        (ORIGIN, "GET", "x-of-its-own"),
    ],
)
async def test_a_preflight_that_is_refused_is_a_problem(
    http: httpx.AsyncClient, origin: str, method: str, header: str
) -> None:
    answer = await http.options(
        "/v1/thing",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": header,
            "Accept-Language": "de",
        },
    )
    assert (answer.status_code, code_of(answer)) == (403, "origin_not_allowed")
    assert answer.headers["Content-Language"] == "de"
    assert answer.json()["request_id"] == answer.headers["Request-Id"]
    assert "Origin" in answer.headers["Vary"]
    assert answer.headers.get("Access-Control-Allow-Origin") == (
        ORIGIN if origin == ORIGIN else None
    )


async def test_a_foreign_origin_is_told_nothing(http: httpx.AsyncClient) -> None:
    answer = await http.get("/v1/thing", headers={"Origin": "https://elsewhere.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de", "de"),
        ("de-AT, en;q=0.5", "de"),
        ("en, de", "en"),
        ("fr, de;q=0.3, en;q=0.2", "de"),
        ("de;q=0", "en"),
        ("fr", "en"),
        ("", "en"),
    ],
)
async def test_a_problem_speaks_the_readers_language(
    http: httpx.AsyncClient, accepted: str, language: str
) -> None:
    answer = await http.get("/v1/nothing", headers={"Accept-Language": accepted})
    assert answer.headers["Content-Language"] == language
    assert (
        answer.json()["title"] == {"de": "Hier ist nichts", "en": "There is nothing here"}[language]
    )
    assert answer.json()["code"] == "not_found"


async def test_head_and_allow_know_every_route_of_a_path(http: httpx.AsyncClient) -> None:
    head = await http.head("/v1/thing")
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", '"7"')
    refused = await http.delete("/v1/thing")
    assert (refused.status_code, code_of(refused)) == (405, "method_not_allowed")
    assert refused.headers["Allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("page", ["docs", "redoc"])
async def test_the_reference_needs_no_other_host(http: httpx.AsyncClient, page: str) -> None:
    answer = await http.get(f"/v1/{page}")
    assert answer.status_code == 200
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assets = [part.split('"')[0] for part in answer.text.split('"docs-assets/')[1:]]
    assert assets
    for asset in assets:
        assert (await http.get(f"/v1/docs-assets/{asset}")).status_code == 200, asset
    assert (await http.get("/v1/openapi.json")).json()["servers"][0]["url"] == "/v1"
