from __future__ import annotations

import json

import pytest
from starlette.requests import Request

from rotator import errors
from rotator.api import problems
from rotator.services.queries import Changing


def _every(kind=errors.RotatorError):
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:  # adapters keep their own to themselves
            yield from _every(below)


def _request():
    return Request({"type": "http", "headers": [], "state": {"request_id": "id-1"}})


def _made(kind):
    return kind("r-1") if kind is errors.RotationUnderway else kind()


@pytest.mark.parametrize("kind", sorted(set(_every()), key=lambda kind: kind.__qualname__))
def test_every_error_of_the_tree_is_a_problem(kind):
    """Each class has a status, a stable code and a sentence."""
    answer = problems.of_error(_request(), _made(kind))
    found = json.loads(answer.body)
    assert answer.media_type == "application/problem+json"
    assert 400 <= answer.status_code < 600
    assert found["code"] == kind.code
    assert found["request_id"] == "id-1"
    assert found["detail"].strip()


@pytest.mark.parametrize(
    ("error", "status", "is_repeated_later"),
    [
        (errors.StoreSealed(), 503, True),
        (errors.StoreForbidden(), 503, False),
        (errors.StateUnavailable(), 503, True),
        (Changing(), 503, True),
        (errors.InvariantViolated(), 500, False),
        (errors.NotFound(), 404, False),
        (errors.StaleGeneration(), 409, False),
        (errors.InvalidCookie(), 422, False),
    ],
)
def test_only_what_passes_says_when_to_come_back(error, status, is_repeated_later):
    """`Retry-After` stands on faults that pass by themselves, and on no other."""
    answer = problems.of_error(_request(), error)
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == is_repeated_later


@pytest.mark.parametrize(
    "kind",
    [
        errors.NotFound,
        errors.StaleGeneration,
        errors.WrongFingerprint,
        errors.NotAuthenticated,
        errors.StoreUnreachable,
        errors.StateUnavailable,
        errors.InvariantViolated,
    ],
)
def test_messages_that_may_hold_input_or_addresses_are_not_shown(kind):
    """Where a message may repeat what was sent, the class's own sentence is shown instead."""
    answer = problems.of_error(_request(), kind("CanaryInMessage"))
    assert b"CanaryInMessage" not in answer.body
