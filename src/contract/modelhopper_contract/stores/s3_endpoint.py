"""Where an S3 server is and with what keys to talk to it, from the environment; and the client that does.

Read are AWS's variables (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, AWS_CA_BUNDLE, those of web
identities and containers) and MinIO's (MINIO_ENDPOINT, MINIO_ACCESS_KEY, MINIO_SECRET_KEY). The keys of the family
that gave the endpoint come first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import certifi
import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import (
    AWSConfigProvider,
    ChainedProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
    Provider,
)
from urllib3.connection import HTTPConnection, HTTPSConnection

from modelhopper_contract.errors import StoreUnavailable, UserError
from modelhopper_contract.stores.patience import Patience

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MINIO_ENDPOINT")
KEYS_HINT = (
    "Keys are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN where it is set), from "
    "MINIO_ACCESS_KEY and MINIO_SECRET_KEY, or from the profile AWS_PROFILE in ~/.aws/credentials."
)

_AWS_HOST = "s3.amazonaws.com"
_ROLE_VARIABLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_CONNECTIONS = 16  # kept open; three per thread that puts a large object
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Endpoint:
    """Where an S3 server is."""

    host: str  # with the port, where it is not the scheme's own
    secure: bool  # https
    region: str | None  # None: the server is asked once
    ca_file: Path | None = None  # certificates to trust instead of the usual ones
    minio_keys_first: bool = False

    def client(self, patience: Patience) -> Minio:
        """Return a client that has found its keys; raise UserError when there are none. Does not try again itself."""
        keys, pool = self.keys(), self.pool(patience)
        keys.retrieve()
        return Minio(endpoint=self.host, secure=self.secure, region=self.region, http_client=pool, credentials=keys)

    def keys(self) -> Provider:
        """Return where the keys come from; asked again when they expire."""
        return _Keys(self.host, _key_sources(minio_first=self.minio_keys_first))

    def pool(self, patience: Patience) -> urllib3.PoolManager:
        """Return connections that trust what is to be trusted, and that wait as long as `patience` says."""
        return _pool(patience, str(self.ca_file or certifi.where()))


def endpoint_from(environment: Mapping[str, str]) -> Endpoint:
    """Read the endpoint from environment variables; without one it is AWS."""
    variable = next((each for each in ENDPOINT_VARIABLES if environment.get(each)), None)
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or None
    ca_file = _ca_file(environment)
    if variable is None:
        return Endpoint(_AWS_HOST, secure=True, region=region, ca_file=ca_file)
    parts = _checked(variable, environment[variable].strip())
    return Endpoint(
        host=parts.netloc,
        secure=parts.scheme == "https",
        # MinIO takes this region whatever its own is called; AWS has a region in the host name.
        region=region or (None if parts.netloc.endswith(".amazonaws.com") else "us-east-1"),
        ca_file=ca_file,
        minio_keys_first=variable == "MINIO_ENDPOINT",
    )


def _checked(variable: str, value: str) -> SplitResult:
    parts = urlsplit(value)
    if "@" in parts.netloc or "@" in parts.path:
        raise UserError(f"{variable} holds a name or a password. Write http(s)://host:port only. {KEYS_HINT}")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UserError(f"{variable} is `{value}`. It must begin with http:// or https://, as in http://minio:9000.")
    if parts.path.strip("/") or parts.query or parts.fragment or not _is_port(parts):
        raise UserError(f"{variable} is `{value}`. It must be http(s)://host:port, with nothing after the port.")
    return parts


def _is_port(parts: SplitResult) -> bool:
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _ca_file(environment: Mapping[str, str]) -> Path | None:
    for variable in ("AWS_CA_BUNDLE", "SSL_CERT_FILE"):
        if value := environment.get(variable):
            if not Path(value).is_file():
                raise UserError(f"{variable} is `{value}`, but there is no such file.")
            return Path(value)
    return None


def _key_sources(*, minio_first: bool) -> list[Provider]:
    environment: list[Provider] = [EnvAWSProvider(), EnvMinioProvider()]
    sources = [*(reversed(environment) if minio_first else environment), AWSConfigProvider()]
    if any(os.environ.get(variable) for variable in _ROLE_VARIABLES):
        # Without these the provider would ask a link-local address, which hangs outside AWS.
        sources.append(IamAwsProvider())
    return sources


class _Keys(Provider):
    """The first keys found; errors in modelhopper's words, because they can come in any request that renews them."""

    def __init__(self, host: str, sources: list[Provider]) -> None:
        self._host = host
        self._chain = ChainedProvider(sources)

    def retrieve(self) -> Credentials:
        try:
            return self._chain.retrieve()
        except ValueError as error:
            raise UserError(f"There are no keys for {self._host}. {KEYS_HINT}") from error
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"The keys for {self._host} could not be renewed: {error}") from error


def _pool(patience: Patience, ca_file: str) -> urllib3.PoolManager:
    pool = urllib3.PoolManager(
        maxsize=_CONNECTIONS,
        timeout=urllib3.Timeout(connect=patience.connect_s, read=patience.read_s),
        retries=False,  # the store tries again; two layers would multiply
        cert_reqs="CERT_REQUIRED",
        ca_certs=ca_file,
    )
    pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pool


class _InPieces:
    """Sends a large body in pieces, because Python's time limit on a socket is for one whole `sendall`.

    In one piece, a checkpoint of 60 MB would have to leave within the time allowed for connecting.
    """

    def send(self, data: Any) -> None:
        if not isinstance(data, bytes) or len(data) <= _PIECE_BYTES:
            super().send(data)  # type: ignore[misc]
            return
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            super().send(view[start : start + _PIECE_BYTES])  # type: ignore[misc]


class _HTTPConnection(_InPieces, HTTPConnection):
    pass


class _HTTPSConnection(_InPieces, HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
