"""The signpost finds what the framework would find, and leaves the rest to it."""

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from shared.web.signpost import Signpost


def answering(name: str, path: str, method: str = "GET") -> APIRoute:
    """Return a route that answers with its own name."""

    async def answer() -> str:
        return name

    return APIRoute(path, answer, methods=[method])


def asked(*routes: APIRoute) -> httpx.AsyncClient:
    """Return a client of an application that has only the signpost before these routes."""
    app = FastAPI(routes=[Signpost(routes)], openapi_url=None)
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://signpost.test"
    )


async def test_the_first_of_two_routes_of_one_shape_serves() -> None:
    http = asked(answering("mine", "/people/me"), answering("one", "/people/{person_id}"))

    assert (await http.get("/people/me")).json() == "mine"
    assert (await http.get("/people/somebody")).json() == "one"


async def test_the_method_is_part_of_the_way() -> None:
    http = asked(answering("read", "/people"), answering("made", "/people", "POST"))

    assert (await http.post("/people")).json() == "made"


async def test_another_path_or_method_is_left_to_the_routes_behind() -> None:
    http = asked(answering("read", "/people/{person_id}"))

    for path in ("/people", "/people/", "/people/a/b", "/persons/a"):
        assert (await http.get(path)).status_code == 404
    assert (await http.delete("/people/a")).status_code == 404
