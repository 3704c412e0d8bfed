"""The document as we publish it: what every operation shares is written once, here.

FastAPI describes the bodies; it knows nothing of our problems, headers and conventions, and leaves
marks of its own that other tools stumble over.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shared.schemas.base import INT32_MAX, INT53_MAX
from shared.web import codes
from shared.web.bodies import MAX_HEADER_VALUE
from shared.web.problems import MEDIA_TYPE

MAX_FILE_BYTES = 10 * 1024 * 1024
METHODS = ("get", "put", "post", "delete", "patch")
VERSIONED = frozenset({"put", "patch", "delete"})
SHARED_HEADERS = (
    *("Request-Id", "RateLimit", "RateLimit-Policy", "Access-Control-Allow-Origin"),
    *("Cache-Control", "Vary", "X-Content-Type-Options", "Strict-Transport-Security"),
)

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Product:
    """What the document says about the product itself."""

    api_id: str
    summary: str
    description: str
    contact: Mapping[str, str]
    tags: Mapping[str, str]


def publish(app: FastAPI, document: Callable[[], Json]) -> None:
    """Let the application publish a document, asked for at the first demand."""

    def known() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = document()
        return app.openapi_schema

    app.openapi = known  # type: ignore[method-assign]


def describe(app: FastAPI, product: Product) -> Json:
    """Return the refined document of an application, made from its routes."""
    raw = get_openapi(
        title=app.title,
        version=app.version,
        summary=product.summary,
        description=product.description,
        routes=app.routes,
        servers=[_SERVER],
        contact=dict(product.contact),
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    raw["info"] |= {"x-api-id": product.api_id, "x-audience": "external-public"}
    used = {tag for _path, _method, one in operations(raw) for tag in one.get("tags", ())}
    raw["tags"] = [
        {"name": name, "description": text}
        for name, text in sorted(product.tags.items())
        if name in used
    ]
    schemas = raw.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas |= _problem_schemas()
    raw["components"] |= {"headers": _headers(), "responses": _responses()}
    for path, method, operation in operations(raw):
        _plain_form(operation, schemas)
        _refine(path, method, operation)
    _link(raw)
    refined: Json = _pruned(raw)
    return refined


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Json]]:
    """Return every operation of a document with its path and method."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _refine(path: str, method: str, operation: Json) -> None:
    parameters = operation.setdefault("parameters", [])
    # A PUT that may create takes either of two, which no document can say.
    may_create = any(one["name"] == "If-None-Match" for one in parameters)
    for parameter in parameters:
        if not may_create:
            _required_version(parameter, method)
        _described(parameter)
    _plain_body(operation)
    is_public = not operation.get("security")
    if is_public:
        operation["security"] = []
    if method == "post" and not is_public:
        parameters.append(_IDEMPOTENCY_KEY)
    if method == "get":
        parameters.extend(_reading(operation))
    responses = operation["responses"]
    responses.pop("422", None)
    for status in _refusals(path, method, operation, is_public=is_public):
        responses.setdefault(status, {})
    for status, response in responses.items():
        if status in _NAMES:
            # A refusal that a route itself declares is the same as everywhere.
            responses[status] = {"$ref": f"#/components/responses/{_NAMES[status]}"}
        else:
            _complete(status, method, response)
    operation["responses"] = {status: responses[status] for status in sorted(responses)}
    if not parameters:
        del operation["parameters"]


def _required_version(parameter: Json, method: str) -> None:
    if parameter["name"] == "If-Match" and method in VERSIONED:
        parameter["required"] = True


def _described(parameter: Json) -> None:
    schema = parameter["schema"]
    # A parameter is absent or has a value; the word null is no value of it.
    if "anyOf" in schema:
        choices = [one for one in schema["anyOf"] if one.get("type") != "null"]
        if len(choices) == 1:
            rest = {key: value for key, value in schema.items() if key != "anyOf"}
            parameter["schema"] = schema = {**choices[0], **rest}
    schema.pop("default", None) if schema.get("default") is None else None
    parameter.setdefault("description", schema.get("description") or _id_words(parameter["name"]))
    schema.pop("description", None)


def _plain_body(operation: Json) -> None:
    """Publish a body that may be left out as one that is not required, never as null."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        choices = [one for one in content["schema"].get("anyOf", ()) if one.get("type") != "null"]
        if len(choices) == 1:
            content["schema"] = choices[0]


def _plain_form(operation: Json, schemas: Json) -> None:
    """Publish the fields of a form as text only: a form knows no null."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        if "form" not in kind or "$ref" not in content["schema"]:
            continue
        form = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        form["additionalProperties"] = False
        for name, field in form["properties"].items():
            if "contentMediaType" in field:
                field.setdefault("maxLength", MAX_FILE_BYTES)
            choices = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
            if len(choices) == 1:
                rest = {key: value for key, value in field.items() if key != "anyOf"}
                form["properties"][name] = {**choices[0], **rest}


def _id_words(name: str) -> str:
    words = name.removesuffix("_id").replace("_", " ")
    return f"Id of the {words}." if name.endswith("_id") else f"The {words}."


def _reading(operation: Json) -> list[Json]:
    named = [_ACCEPT_LANGUAGE]
    if "200" in operation["responses"] and not _is_list(operation):
        named.append(_IF_NONE_MATCH)
    return named


def _is_list(operation: Json) -> bool:
    return any(one["name"] == "cursor" for one in operation["parameters"])


def _refusals(path: str, method: str, operation: Json, *, is_public: bool) -> list[str]:
    statuses = ["400", "429", "500", "503", "default"]
    if not is_public:
        statuses += ["401", "403"]
    if "{" in path or method != "get":
        statuses.append("404")
    if method != "get":
        statuses += ["409", "413", "415"]
    if any(one["name"] == "If-Match" for one in operation["parameters"]):
        statuses.append("412")
    if method in VERSIONED:
        statuses.append("428")
    if method == "get" and any(one is _IF_NONE_MATCH for one in operation["parameters"]):
        statuses.append("304")
    return statuses


def _complete(status: str, method: str, response: Json) -> None:
    names = list(SHARED_HEADERS)
    if status in {"201", "202"}:
        names.append("Location")
    if status in {"200", "201"}:
        names.append("ETag")
    if method == "post":
        names.append("Idempotency-Replayed")
    headers = response.setdefault("headers", {})
    for name in names:
        headers.setdefault(name, {"$ref": f"#/components/headers/{name}"})
    if response.get("description") == "Successful Response":
        response["description"] = _GOOD[status]


def _link(document: Json) -> None:
    """Say how to reach what was made: tools follow these from one operation to the next."""
    by_path = {
        path: {method: one["operationId"] for p, method, one in operations(document) if p == path}
        for path in document["paths"]
    }
    for path, method, operation in operations(document):
        made = operation["responses"].get("201")
        if method != "post" or made is None:
            continue
        collection = path.rsplit("/", 1)[-1]
        links = {}
        for other, methods in by_path.items():
            parameter = _single(other, collection)
            if parameter is None:
                continue
            for verb in ("get", "patch"):
                if verb in methods:
                    links[methods[verb]] = _made(methods[verb], parameter, verb)
        if links:
            made["links"] = links


def _single(path: str, collection: str) -> str | None:
    """Return the parameter of `/things/{thing_id}`, or None for every other path."""
    parts = path.strip("/").split("/")
    if len(parts) != 2 or parts[0] != collection or not parts[1].startswith("{"):  # noqa: PLR2004 - two parts
        return None
    return parts[1].strip("{}")


def _made(operation: str, parameter: str, method: str) -> Json:
    given = {f"path.{parameter}": "$response.body#/id"}
    if method == "patch":
        given["header.If-Match"] = "$response.header.ETag"
    return {"operationId": operation, "parameters": given, "description": "What was made."}


def _pruned(node: Any, parent: str = "") -> Any:
    if isinstance(node, list):
        return [_pruned(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: _pruned(value, key)
        for key, value in node.items()
        if not (key == "default" and value is None)
        # Generated titles repeat the name of the field.
        and not (key == "title" and isinstance(value, str) and parent not in {"info", "properties"})
    }
    return _typed(kept)


def _typed(schema: Json) -> Json:
    """Bound what Pydantic leaves open although the values are few."""
    if "patternProperties" in schema:
        schema.setdefault("additionalProperties", False)
    if schema.get("type") == "string" and "const" in schema:
        schema.setdefault("maxLength", len(str(schema["const"])))
    if schema.get("type") == "integer":
        schema.setdefault("format", "int32")
        largest = INT32_MAX if schema["format"] == "int32" else INT53_MAX
        schema.setdefault("minimum", -largest)
        schema.setdefault("maximum", largest)
    return schema


def _problem_schemas() -> Json:
    known = sorted(codes.CODES)
    return {
        "Problem": {
            "type": "object",
            "description": "A refusal (RFC 9457); see the page of its code.",
            "required": [
                *("type", "title", "status", "detail", "instance", "code", "request_id"),
            ],
            "properties": {
                "type": _text("Stable reference of the code.", f"{codes.TYPE}not_found", 200)
                | {"format": "uri"},
                "title": _text("What it is, for a person.", "There is nothing here", 200),
                "status": {
                    "type": "integer",
                    "format": "int32",
                    "minimum": 400,
                    "maximum": 599,
                    "description": "The HTTP status.",
                    "examples": [404],
                },
                "detail": _text("What happened, for a person.", "There is nothing here.", 2000),
                "instance": _text("The path that was asked.", "/v1/me", 4096)
                | {"format": "uri-reference"},
                "code": _text("Stable code, for a program.", "not_found", 64)
                | {"x-extensible-enum": known},
                "request_id": _text(
                    "Name it when asking for help.", "01kajv7v1cefh8ws6q1fyv4m2z", 26
                ),
                "errors": {
                    "type": "array",
                    "maxItems": 1000,
                    "description": "What is wrong where.",
                    "items": {"$ref": "#/components/schemas/Violation"},
                },
                "allowed": {
                    "type": "array",
                    "maxItems": 100,
                    "description": "What can be done instead.",
                    "items": _text("A step.", "approve", 200),
                },
            },
        },
        "Violation": {
            "type": "object",
            "description": "One thing that is wrong in a request.",
            "required": ["pointer", "code", "detail"],
            "properties": {
                "pointer": _text("JSON pointer into the body, or a parameter.", "#/email", 2000),
                "code": _text("Stable code, for a program.", "missing", 64),
                "detail": _text("What would be right, for a person.", "This is required.", 2000),
            },
        },
    }


def _text(description: str, example: str, maximum: int) -> Json:
    return {
        "type": "string",
        "maxLength": maximum,
        "description": description,
        "examples": [example],
    }


def _header(description: str, example: str, maximum: int = 200) -> Json:
    schema = {"type": "string", "maxLength": maximum, "examples": [example]}
    return {"description": description, "schema": schema}


def _headers() -> Json:
    return {
        "Request-Id": _header("Our id of this request.", "01kajv7v1cefh8ws6q1fyv4m2z", 26),
        "RateLimit": _header("What is left of the quota.", '"default";r=599;t=60'),
        "RateLimit-Policy": _header("The quota.", '"default";q=600;w=60'),
        "Retry-After": _header("Seconds to wait before the next try.", "1", 10),
        "Access-Control-Allow-Origin": _header(
            "The asking origin, where it is allowed.", "https://app.example.org", 512
        ),
        "Cache-Control": _header("Whether the answer may be stored.", "private, no-cache"),
        "Vary": _header("What the answer depends on.", "Accept-Language, Authorization, Origin"),
        "X-Content-Type-Options": _header("Always `nosniff`.", "nosniff", 10),
        "Strict-Transport-Security": _header("Only over TLS.", "max-age=31536000"),
        "WWW-Authenticate": _header("How to authenticate.", "Bearer"),
        "Content-Language": _header("The language of title and detail.", "en", 12),
        "Allow": _header("The methods of this path.", "GET, HEAD, POST"),
        "ETag": _header("The version of the resource.", '"7"', 100),
        "Location": _header("Where it is.", "/v1/people/per_01kajv7v1cefh8ws6q1fyv4m2z", 512),
        "Idempotency-Replayed": _header("`true` where an earlier answer is repeated.", "true", 4),
    }


_SERVER = {
    "url": "/v1",
    "description": "This installation: production, a sandbox in it, or a local one.",
    "x-internal": False,
}
_NAMES = {
    "304": "NotModified",
    "400": "InvalidRequest",
    "401": "Unauthenticated",
    "403": "Forbidden",
    "404": "NotFound",
    "409": "Conflict",
    "412": "PreconditionFailed",
    "413": "ContentTooLarge",
    "415": "UnsupportedMediaType",
    "428": "PreconditionRequired",
    "429": "TooManyRequests",
    "500": "InternalError",
    "503": "Unavailable",
    "default": "Problem",
}
_WORDS = {
    "304": "The reader already holds this version.",
    "400": "The request is not valid and will not become so.",
    "401": "A valid credential is needed.",
    "403": "Known and visible, but not allowed.",
    "404": "Absent, or not the caller's to know.",
    "409": "A rule says no, now.",
    "412": "It has changed since; the current version is in `ETag`.",
    "413": "The body is too large.",
    "415": "The body has another media type than the operation reads.",
    "428": "Say which version you change, as `If-Match`; a first PUT takes `If-None-Match: *`.",
    "429": "Too many requests.",
    "500": "Something went wrong on our side.",
    "503": "Something needed does not answer; try again.",
    "default": "Any other refusal.",
}
_GOOD = {"200": "As asked.", "201": "Made.", "202": "Accepted; the work goes on.", "204": "Done."}
_MORE_HEADERS = {
    "304": ("ETag",),
    "401": ("WWW-Authenticate",),
    "412": ("ETag",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
    "default": ("Allow",),
}


def _responses() -> Json:
    return {name: _response(status) for status, name in _NAMES.items()}


def _response(status: str) -> Json:
    names: Sequence[str] = (*SHARED_HEADERS, *_MORE_HEADERS.get(status, ()))
    response: Json = {"description": _WORDS[status]}
    if status != "304":
        names = (*names, "Content-Language")
        response["content"] = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return response


def _parameter(name: str, description: str, example: str, maximum: int) -> Json:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "maxLength": maximum, "examples": [example]},
    }


_IDEMPOTENCY_KEY = _parameter(
    "Idempotency-Key",
    "A fresh UUID for each intent; a repeated request with it has no second effect. Required for"
    " API keys. After draft-ietf-httpapi-idempotency-key-header-08.",
    "0190f8a5-6f4e-7c3a-9d0b-3b1f8d2c4e5a",
    255,
)
_IDEMPOTENCY_KEY["schema"]["minLength"] = 1
_IF_NONE_MATCH = _parameter(
    "If-None-Match", "The ETag you hold; 304 while it is current.", '"7"', MAX_HEADER_VALUE
)
_ACCEPT_LANGUAGE = _parameter(
    "Accept-Language", "Language of problems: English or German.", "de, en;q=0.8", MAX_HEADER_VALUE
)
