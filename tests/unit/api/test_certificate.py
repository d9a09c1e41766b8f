"""A certificate that is renewed while it is shown."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from rotator.api.certificate import Renewal, Tls
from rotator.errors import ConfigurationError
from tests.support.certificates import Authority


def test_what_could_not_be_read_for_a_moment_is_told_once_and_taken_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Out of file descriptors at the very moment of the renewal, the service takes it all the same."""
    authority = Authority(tmp_path, "ca")
    first = authority.sign("service", address="127.0.0.1")
    tls = Tls(certificate=first.certificate, key=first.key)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    renewal = Renewal(tls)
    loaded: list[ssl.SSLContext] = []
    load = Tls.load

    def fails(_tls: Tls, _context: ssl.SSLContext) -> None:
        raise ConfigurationError("too many open files")

    def loads(tls: Tls, context: ssl.SSLContext) -> None:
        load(tls, context)
        loaded.append(context)

    second = authority.sign("renewed", address="127.0.0.1")
    second.certificate.replace(first.certificate)
    second.key.replace(first.key)
    monkeypatch.setattr(Tls, "load", fails)
    for _ in range(3):
        renewal.look(shown)
    assert caplog.text.count("certificate not taken") == 1
    monkeypatch.setattr(Tls, "load", loads)
    for _ in range(3):
        renewal.look(shown)
    assert loaded.count(shown) == 1  # and not again while nothing is new
