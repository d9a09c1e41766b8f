"""Where a Kubernetes API is, and who asks: as every pod is told, or as it is given."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rotator.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Where the kubelet puts a pod's token and the API's authority.
MOUNTED: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One API server."""

    address: str  #: https://host:port; http on loopback alone (`kubectl proxy`)
    token_file: Path | None = None  #: read at every request: the kubelet replaces it
    ca_cert: Path | None = None  #: PEM; None: the usual authorities

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.address)
            is_address = url.port != 0 and url.hostname is not None
        except ValueError:
            url, is_address = urlsplit(""), False
        rest = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc
        if url.scheme not in {"http", "https"} or not is_address or rest:
            raise ConfigurationError("kubernetes: https://host:port is wanted, and no more")
        if url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise ConfigurationError(
                "kubernetes: plain http is for loopback alone (kubectl proxy); use https"
            )

    def trust(self) -> ssl.SSLContext | bool:
        """What verifies the server; `ConfigurationError` for a file without certificates."""
        if self.address.startswith("http:"):
            return False
        try:
            return ssl.create_default_context(cafile=self.ca_cert)
        except OSError:
            raise ConfigurationError(
                f"kubernetes: {self.ca_cert} cannot be read, or holds no certificates"
            ) from None


def in_cluster(environment: Mapping[str, str]) -> Place:
    """The API of the cluster that this process is a pod of; `ConfigurationError` outside of one."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ConfigurationError(
            "this is no pod: KUBERNETES_SERVICE_HOST is not set. Name the API, such as"
            " http://127.0.0.1:8001 beside `kubectl proxy`"
        )
    name = f"[{host}]" if ":" in host else host
    return Place(
        address=f"https://{name}:{port}",
        token_file=MOUNTED / "token",
        ca_cert=MOUNTED / "ca.crt",
    )
