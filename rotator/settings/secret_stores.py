"""Where cookies and masters are kept, and how the service identifies itself there."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from rotator.settings.values import Location, PositiveDuration, Section, Text, matching

_STEP: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}"
_Steps = AfterValidator(
    matching(
        f"{_STEP}(?:/{_STEP}){{0,7}}",
        "a path such as `secret` or `team/secret`, no slash around it",
    )
)


def _address(value: str) -> str:
    rule = "an address is http:// or https://, a host and a port: https://vault.example:8200"
    try:
        url = urlsplit(value)
        has_port = url.port != 0
    except ValueError:  # a port that is none, a bracket too many
        raise ValueError(rule) from None
    if "@" in url.netloc:
        raise ValueError("a user or password does not stand in the address; see auth")
    is_plain = not url.query and not url.fragment and value.isprintable() and " " not in value
    if url.scheme not in {"http", "https"} or not url.hostname or not has_port or not is_plain:
        raise ValueError(rule)
    if url.scheme == "http" and not _is_loopback(url.hostname):
        raise ValueError("outside of loopback cookies would cross the network in the clear: https")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class TokenAuth(Section):
    """A token that somebody else renews or replaces in its file."""

    method: Literal["token"]
    token_file: Location
    #: Read at start and again when the token has expired.


class AppRoleAuth(Section):
    """AppRole: a role and a secret id."""

    method: Literal["approle"]
    role_id: Text
    #: Not secret by itself.
    secret_id_file: Location
    #: Read at each login.
    mount: Annotated[str, _Steps] = "approle"
    #: Where the auth method is mounted.


class JwtAuth(Section):
    """A JSON web token of the platform, such as a Kubernetes service account's."""

    method: Literal["jwt"]
    role: Text
    #: The role in the secrets manager that the token is exchanged for.
    jwt_file: Location
    #: Read at each login.
    mount: Annotated[str, _Steps] = "jwt"
    #: Where the auth method is mounted.


class KubernetesAuth(Section):
    """The token of a Kubernetes service account, which Vault has the cluster review."""

    method: Literal["kubernetes"]
    role: Text
    #: The role in the secrets manager that the token is exchanged for.
    jwt_file: Location = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    #: Read at each login, since the kubelet exchanges it.
    mount: Annotated[str, _Steps] = "kubernetes"
    #: Where the auth method is mounted.


class VaultStore(Section):
    """HashiCorp Vault or OpenBao, KV version 2."""

    kind: Literal["vault"]
    address: Annotated[str, AfterValidator(_address)]
    #: Such as https://vault.example:8200.
    auth: Annotated[
        TokenAuth | AppRoleAuth | JwtAuth | KubernetesAuth, Field(discriminator="method")
    ]
    #: Secrets are named by file: nothing in rotator.yaml is one.
    mount: Annotated[str, _Steps] = "secret"
    #: The KV version 2 mount.
    prefix: Annotated[str, _Steps] = "erlang-cookies"
    #: Everything lies below <mount>/<prefix>, so one policy covers it.
    ca_cert: Location | None = None
    #: PEM file of the authority that signed Vault's certificate; default: the usual ones.
    timeout: PositiveDuration = timedelta(seconds=5)
    #: Bound of one call, logins included. Shorter takes a slow answer for a lost one.


class LocalStore(Section):
    """Encrypted files in a directory: for one machine, trials and tests."""

    kind: Literal["local"]
    directory: Location
    #: Holds the documents and, beside them, the key file.


class AwsStore(Section):
    """AWS Secrets Manager; credentials come from boto3's default chain, never from this file."""

    kind: Literal["aws"]
    region: Annotated[
        str, AfterValidator(matching(r"[a-z]{2}(?:-[a-z0-9]+)+", "a region: eu-central-1"))
    ]
    #: Such as eu-central-1; AWS_REGION of the environment is not read.
    prefix: Annotated[str, _Steps] = "erlang-cookies"
    #: Every secret's name begins with <prefix>/, so one policy covers all.
    kms_key: Text | None = None
    #: Id, ARN or alias of the key for secrets created from now on; default: aws/secretsmanager.
    endpoint: Annotated[str, AfterValidator(_address)] | None = None
    #: In place of the region's own address: a VPC endpoint, or an emulator on loopback.
    timeout: PositiveDuration = timedelta(seconds=10)
    #: Bound of one call of several requests. Shorter takes a slow answer for a lost one.


STORES: Final[dict[str, type[Section]]] = {
    "vault": VaultStore,
    "local": LocalStore,
    "aws": AwsStore,
}
METHODS: Final[dict[str, type[Section]]] = {
    "token": TokenAuth,
    "approle": AppRoleAuth,
    "jwt": JwtAuth,
    "kubernetes": KubernetesAuth,
}
