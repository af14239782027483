"""Hearing at once of objects that are put into a bucket, where the server tells: MinIO does, AWS does not.

Notifications only ever save time. They may be lost, and whoever waits for one looks into the store now and then, too.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Self
from urllib.parse import quote, urlsplit

from minio.signer import presign_v4
from urllib3 import BaseHTTPResponse

from modelhopper_contract.errors import ModelhopperError
from modelhopper_contract.stores.patience import Patience
from modelhopper_contract.stores.s3_endpoint import Endpoint, endpoint_from
from modelhopper_contract.stores.s3_errors import CAUGHT

_SIGN_OF_LIFE_S = 5.0  # MinIO writes a blank twice a second
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_PATIENCE = Patience(tries=1, connect_s=5.0, read_s=_SIGN_OF_LIFE_S)
_VALID_FOR = timedelta(minutes=15)  # of a signature; the answer may go on for longer
_PIECE_BYTES = 1 << 16


class Notifications:
    """Calls `ring`, in a thread of its own, when an object is put under a prefix. Used as a context manager.

    A connection that ends is made again. A server that refuses for good is left alone. One that accepts and then says
    nothing is asked again once a minute: some releases of MinIO hold every event back in a buffer.
    """

    def __init__(self, endpoint: Endpoint, bucket: str, prefix: str, ring: Callable[[], None]) -> None:
        self._endpoint = endpoint
        self._bucket = bucket
        self._prefix = prefix
        self._ring = ring
        self._over = threading.Event()
        self._heard_s: float | None = None
        self._thread = threading.Thread(target=self._listen, name="notifications", daemon=True)

    @property
    def are_live(self) -> bool:
        """Whether the server has just shown that it tells what happens."""
        return self._heard_s is not None and time.monotonic() - self._heard_s < _SIGN_OF_LIFE_S

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()  # the thread sees it at the next blank, or never; it holds nothing that matters

    def _listen(self) -> None:
        pause_s = _FIRST_PAUSE_S
        with self._endpoint.pool(_PATIENCE) as pool:
            while not self._over.is_set():
                self._heard_s = None
                # What cannot be asked now may be later; who waits also looks by himself, and meets the same trouble.
                with contextlib.suppress(*CAUGHT, ModelhopperError):
                    response = pool.request("GET", self._signed(), preload_content=False)
                    if _is_refusal(response):
                        return
                    self._read(response)
                pause_s = _FIRST_PAUSE_S if self._heard_s is not None else min(2 * pause_s, _LONGEST_PAUSE_S)
                self._over.wait(pause_s)

    def _read(self, response: BaseHTTPResponse) -> None:
        with contextlib.closing(response):
            if response.status != 200:
                return
            self._ring()  # what was put before the server listened
            for piece in _pieces(response):
                self._heard_s = time.monotonic()
                if piece.strip():
                    self._ring()
                if self._over.is_set():
                    return

    def _signed(self) -> str:
        """Return a URL that needs no further headers. The library's own client reads on at the end of an answer."""
        endpoint = self._endpoint
        query = f"events={quote('s3:ObjectCreated:*', safe='')}&prefix={quote(self._prefix, safe='')}"
        url = urlsplit(f"{'https' if endpoint.secure else 'http'}://{endpoint.host}/{self._bucket}?{query}")
        return presign_v4(
            method="GET",
            url=url,
            region=endpoint.region or "us-east-1",
            credentials=endpoint.keys().retrieve(),
            date=datetime.now(UTC),
            expires=int(_VALID_FOR.total_seconds()),
        ).geturl()


def notifications(url: str, prefix: str, ring: Callable[[], None]) -> Notifications | None:
    """Return what listens for objects under `prefix` in the store at `url`; None for AWS, which cannot."""
    bucket, _, folder = url.removeprefix("s3://").partition("/")
    endpoint = endpoint_from(os.environ)
    if endpoint.host.endswith(".amazonaws.com"):
        return None
    return Notifications(endpoint, bucket, f"{folder}/{prefix}" if folder else prefix, ring)


def _is_refusal(response: BaseHTTPResponse) -> bool:
    """Say whether the server will never tell: not allowed, not known, or taken for something else."""
    if response.status == 200:
        return not response.headers.get("Content-Type", "").startswith("text/event-stream")
    return response.status == 501 or 400 <= response.status < 500


def _pieces(response: BaseHTTPResponse) -> Iterator[bytes]:
    while piece := response.read1(_PIECE_BYTES):
        yield piece
