"""The OpenAPI document; ``python -m rotator.api.openapi`` prints it.

FastAPI knows the answers and parameters of its own routes. Bodies are read by `bodies`, and the
nodes' routes are plain endpoints, so both are added here, out of the same table.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from fastapi.openapi.utils import get_openapi
from starlette.responses import Response

from rotator.api.auth import Role
from rotator.api.bodies import adapter
from rotator.api.dependencies import Route
from rotator.protocol import v1

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

_REF: Final = "#/components/schemas/"
_TEMPLATE: Final = f"{_REF}{{model}}"
_PROBLEM: Final = {
    "description": "A problem",
    "content": {"application/problem+json": {"schema": {"$ref": f"{_REF}Problem"}}},
}
_KEYED: Final = frozenset({"POST"})


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, as OpenAPI 3.1."""
    found = get_openapi(title="rotator", version="1", routes=app.routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    _add_schema(schemas, v1.Problem)
    table: tuple[Route, ...] = app.state.table
    for route in table:
        operation = found["paths"].setdefault(route.path, {}).setdefault(route.method.lower(), {})
        _describe(operation, route, schemas)
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    found["paths"] = dict(sorted(found["paths"].items()))
    return found


def _add_schema(schemas: dict[str, Any], kind: type) -> str:
    made = adapter(kind).json_schema(ref_template=_TEMPLATE)
    schemas.update(made.pop("$defs", {}))
    schemas[kind.__name__] = made
    return f"{_REF}{kind.__name__}"


def _describe(operation: dict[str, Any], route: Route, schemas: dict[str, Any]) -> None:
    text = " ".join((route.endpoint.__doc__ or "").split())
    operation["summary"] = text.split(". ")[0].rstrip(".")
    operation["description"] = text
    operation["operationId"] = (
        f"{route.endpoint.__module__.rpartition('.')[2]}_{route.endpoint.__name__}"
    )
    operation["x-roles"] = [str(role) for role in route.roles]
    if Role.PUBLIC not in route.roles:
        operation["security"] = [{"token": []}]
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    if route.is_plain:
        operation["parameters"] = _parameters(route)
        responses.update(_plain_answer(route, schemas))
    responses["default"] = _PROBLEM
    if route.takes is not None:
        schema = {"$ref": _add_schema(schemas, route.takes)}
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    if route.method in _KEYED and route.takes not in {v1.Import, None}:
        operation.setdefault("parameters", []).append(
            {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}}
        )


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string"}
    named = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    return [
        *({"name": name, "in": "path", "required": True, "schema": text} for name in named),
        *({"name": name, "in": "query", "schema": text} for name in route.query),
    ]


def _plain_answer(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    if route.answer is None:
        kind = "text/event-stream" if "stream" in route.path else "application/json"
        return {"200": {"description": "OK", "content": {kind: {}}}}
    schema = {"$ref": _add_schema(schemas, route.answer)}
    answers: dict[str, Any] = {
        "200": {"description": "OK", "content": {"application/json": {"schema": schema}}}
    }
    if "wait" in route.query:
        answers["304"] = {"description": "Nothing has changed"}
    return answers


def text(app: FastAPI) -> str:
    """The document as it is checked in."""
    return json.dumps(document(app), indent=2, sort_keys=True) + "\n"


@lru_cache(maxsize=4)
def _bytes(app: FastAPI) -> bytes:
    return text(app).encode()


async def show(request: Request) -> Response:
    """This document."""
    return Response(_bytes(request.app), media_type="application/json")


ROUTES: Final = (Route("GET", "/openapi.json", show, (Role.PUBLIC,), is_plain=True),)


def main() -> None:
    """Print the document of this version."""
    from rotator.api.app import ROUTES as ALL  # noqa: PLC0415 - the application shows it itself
    from rotator.api.app import build  # noqa: PLC0415

    sys.stdout.write(text(build(ALL)))


if __name__ == "__main__":
    main()
