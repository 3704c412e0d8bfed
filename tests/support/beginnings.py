"""What many tests begin with: made over HTTP once in each worker, and copied from then on."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from typing import Any, Concatenate

import httpx

from shared import ids
from tests.support.apps import World, same_person
from tests.support.copies import (
    Renaming,
    Rows,
    built_in_template,
    likeness,
    rows_of,
    since,
    write,
)


@dataclass(frozen=True, slots=True)
class Beginning:
    """The rows that a test began with, and what stands for them in Python."""

    world: World
    rows: Rows
    value: Any


_BEGINNINGS: dict[str, Beginning] = {}


def begun_once[**Options, Begun](
    recipe: Callable[Concatenate[World, Options], Coroutine[Any, Any, Begun]],
) -> Callable[Concatenate[World, Options], Coroutine[Any, Any, Begun]]:
    """Follow a recipe once in each worker; whoever begins the same way again gets a copy.

    Copied is the first thing that is made in an organization, for one that holds the same so far.
    What comes after it is made over HTTP.
    """

    @wraps(recipe)
    async def begin(world: World, /, *arguments: Options.args, **options: Options.kwargs) -> Begun:
        if world.has_begun:
            return await recipe(world, *arguments, **options)
        before = await rows_of(world.app, world.id)
        alike = likeness(before).replace(world.slug, "")
        wanted = f"{recipe.__qualname__} {arguments} {sorted(options.items())} {alike}"
        known = _BEGINNINGS.get(wanted)
        if known is None:
            # What the recipe itself begins with may be a copy.
            value = await recipe(world, *arguments, **options)
            rows = since(before, await rows_of(world.app, world.id))
            _BEGINNINGS[wanted] = Beginning(replace(world), rows, _rebuilt(value, _kept))
        else:
            value = await _copied(known, world)
        world.has_begun = True
        return value

    return begin


async def _copied(beginning: Beginning, world: World) -> Any:
    first = beginning.world
    renaming = Renaming(
        {
            first.id: world.id,
            ids.parse_id("person", first.org_admin_id): ids.parse_id("person", world.org_admin_id),
            built_in_template(first.id): built_in_template(world.id),
        }
    )
    await write(world.app, world.id, beginning.rows, renaming)

    def of_this_world(one: Any) -> Any:
        match one:
            case World():
                return world
            case httpx.AsyncClient():
                return same_person(world.app, one, renaming)
            case str():
                return renaming.of_text(one)
            case _:
                return one

    return _rebuilt(beginning.value, of_this_world)


def _rebuilt(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """Return a copy of what a recipe returned, made of what becomes of its leaves."""
    match value:
        case list():
            return [_rebuilt(one, leaf) for one in value]
        case dict():
            return {key: _rebuilt(one, leaf) for key, one in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, World | type):
            parts = {each.name: getattr(value, each.name) for each in fields(value)}
            return type(value)(**_rebuilt(parts, leaf))
        case _:
            return leaf(value)


def _kept(leaf: Any) -> Any:
    return leaf
