"""The published document as a source of requests: its examples, and the bodies they make."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from shared.web.openapi import operations

PREFIX = "/v1"

type Json = dict[str, Any]


def published(app: FastAPI) -> Json:
    """Return the document of the public API."""
    document: Json = app.state.public.openapi()
    return document


class Operation:
    """One operation of the document, and a request for it made of the document's examples."""

    def __init__(self, document: Json, path: str, method: str, content: Json) -> None:
        """Take the operation and the document it refers to."""
        self.document = document
        self.path = path
        self.method = method.upper()
        self.content = content

    def __repr__(self) -> str:
        """Name the operation in a failure."""
        return f"{self.method} {self.path}"

    @property
    def is_public(self) -> bool:
        """Tell whether the operation asks for no credential."""
        return not self.content["security"]

    @property
    def path_parameters(self) -> list[str]:
        """Return the names of what varies in the path."""
        return [one["name"] for one in self.content.get("parameters", []) if one["in"] == "path"]

    def takes(self, header: str) -> bool:
        """Tell whether the operation knows a header."""
        return any(one["name"] == header for one in self.content.get("parameters", []))

    def url(self, known: Mapping[str, str] | None = None) -> str:
        """Return the path, with ids that are known or else with examples."""
        url = PREFIX + self.path
        for one in self.content.get("parameters", []):
            if one["in"] == "path":
                example = (known or {}).get(one["name"]) or self.example(one["schema"])
                url = url.replace("{" + one["name"] + "}", str(example))
        return url

    def required_query(self) -> dict[str, str]:
        """Return examples of the query parameters that must be given."""
        return {
            one["name"]: str(self.example(one["schema"]))
            for one in self.content.get("parameters", [])
            if one["in"] == "query" and one.get("required")
        }

    def single_query(self) -> list[str]:
        """Return the query parameters that take one value."""
        return [
            one["name"]
            for one in self.content.get("parameters", [])
            if one["in"] == "query" and self.resolve(one["schema"]).get("type") != "array"
        ]

    @property
    def media_type(self) -> str | None:
        """Return what kind of body is read, if any."""
        return next(iter(self.content.get("requestBody", {}).get("content", {})), None)

    @property
    def body_schema(self) -> Json | None:
        """Return the schema of a JSON body."""
        if self.media_type is None or "json" not in self.media_type:
            return None
        schema: Json = self.resolve(
            self.content["requestBody"]["content"][self.media_type]["schema"]
        )
        return schema

    def body(self) -> Any:
        """Return the smallest body the document allows, of its examples."""
        return None if self.body_schema is None else self.example(self.body_schema)

    def headers(self) -> dict[str, str]:
        """Return the headers of a request with a body."""
        return {"Content-Type": self.media_type} if self.media_type else {}

    def resolve(self, schema: Json) -> Json:
        """Follow a reference."""
        while "$ref" in schema:
            found: Any = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        return schema

    def example(self, schema: Json) -> Any:  # noqa: PLR0911 - one return for each kind of schema
        """Return a value that a schema allows."""
        schema = self.resolve(schema)
        if schema.get("examples"):
            return schema["examples"][0]
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            if choice.get("type") != "null":
                return self.example(choice)
        if schema.get("type") == "array":
            return [self.example(schema["items"])] if schema.get("minItems") else []
        if schema.get("type") == "object":
            properties = schema.get("properties", {})
            if schema.get("minProperties") and not properties:
                [inner] = schema.get(
                    "patternProperties", {"": schema.get("additionalProperties")}
                ).values()
                return {"en": self.example(inner)}
            return {name: self.example(properties[name]) for name in schema.get("required", ())}
        return {"boolean": False, "integer": schema.get("minimum", 0), "number": 0}.get(
            schema.get("type", ""), "text"
        )


def every_operation(app: FastAPI) -> list[Operation]:
    """Return every operation of the document."""
    document = published(app)
    return [Operation(document, *one) for one in operations(document)]
