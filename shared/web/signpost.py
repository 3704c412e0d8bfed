"""The way to a route without trying every route before it.

The framework compares a path with one pattern after the other; with two hundred of them that costs
more than the rest of its work. Method, first word and length of a path leave very few.
"""

from collections import defaultdict
from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

type Shape = tuple[str, str, int]


class Signpost(BaseRoute):
    """Stands before the routes it knows; whatever it does not find is left to them."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        """Note the shapes of all routes, in their order."""
        self._routes: defaultdict[Shape, list[APIRoute]] = defaultdict(list)
        for route in routes:
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    self._routes[_shape(method, route.path)].append(route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return the match of the first route that serves this method and path."""
        if scope["type"] == "http":
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            for route in self._routes.get(_shape(scope["method"], path), ()):
                match, child_scope = route.matches(scope)
                if match is Match.FULL:
                    return match, child_scope
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request by the route that matched."""
        await scope["route"].handle(scope, receive, send)


def _shape(method: str, path: str) -> Shape:
    return method, path[1:].partition("/")[0], path.count("/")
