"""AWS Secrets Manager over boto3, in threads of its own."""

from __future__ import annotations

from datetime import timedelta

from rotator.adapters.secret_stores.aws.connection import AwsConnection
from rotator.adapters.secret_stores.aws.examiner import AwsExaminer
from rotator.adapters.secret_stores.aws.masters import AwsMasterStore
from rotator.adapters.secret_stores.aws.store import AwsCookieStore
from rotator.adapters.secret_stores.registry import SecretStores


def open_backend(
    *,
    region: str,
    prefix: str = "erlang-cookies",
    kms_key: str | None = None,
    endpoint: str | None = None,
    timeout: timedelta = timedelta(seconds=10),
) -> SecretStores:
    """Both stores over one client; credentials come from boto3's default chain.

    *kms_key* encrypts what is created from now on (an id, ARN or alias; None: the account's
    ``aws/secretsmanager``). *endpoint* is a URL in place of the region's own. *timeout* bounds
    every method of the stores as a whole.
    """
    connection = AwsConnection(region=region, endpoint=endpoint, timeout=timeout)
    return SecretStores(
        cookies=AwsCookieStore(connection, prefix=prefix, kms_key=kms_key),
        masters=AwsMasterStore(connection, prefix=prefix, kms_key=kms_key),
        examiner=AwsExaminer(connection, prefix=prefix),
    )
