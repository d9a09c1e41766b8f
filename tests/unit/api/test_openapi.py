from __future__ import annotations

import json
from pathlib import Path

from rotator.api import openapi
from rotator.api.app import ROUTES, build
from rotator.api.auth import Role

CHECKED_IN = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


def test_the_document_that_is_checked_in_is_that_of_this_version():
    """Write it again with `python -m rotator.api.openapi > docs/reference/openapi.json`."""
    assert CHECKED_IN.read_text(encoding="utf-8") == openapi.text(build(ROUTES))


def test_every_route_is_in_the_document_with_roles_and_problem():
    """Plain endpoints are described like all others."""
    found = json.loads(openapi.text(build(ROUTES)))
    assert found["openapi"].startswith("3.1")
    described = {(method.upper(), path) for path, item in found["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES}
    for route in ROUTES:
        operation = found["paths"][route.path][route.method.lower()]
        assert operation["x-roles"] == [str(role) for role in route.roles]
        assert ("security" in operation) == (Role.PUBLIC not in route.roles)
        assert "application/problem+json" in operation["responses"]["default"]["content"]
        assert ("requestBody" in operation) == (route.takes is not None)


def test_every_reference_in_the_document_leads_somewhere():
    """No schema is referred to that is not there."""
    text = openapi.text(build(ROUTES))
    found = json.loads(text)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(found["components"]["schemas"])
