"""The store in a bucket: MinIO, or anything that speaks S3."""

from __future__ import annotations

import io
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from minio import Minio

from modelhopper_contract.errors import CorruptObject, ObjectNotFound, StoreUnavailable, UserError
from modelhopper_contract.store import Entry
from modelhopper_contract.stores.disk_errors import explained
from modelhopper_contract.stores.durability import in_threads
from modelhopper_contract.stores.files import PIECE_BYTES, write
from modelhopper_contract.stores.names import MAX_PART_BYTES, check_name, check_prefix, is_name
from modelhopper_contract.stores.patience import Patience
from modelhopper_contract.stores.s3_endpoint import endpoint_from
from modelhopper_contract.stores.s3_errors import CAUGHT, Place, is_missing

PART_SIZE_BYTES = 64 << 20  # up to here a put is one request; above, a multipart upload that becomes visible at its end

_PARTS_AT_ONCE = 3  # of what is in memory anyway

_T = TypeVar("_T")
_BUCKET = re.compile(r"[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")


class S3Store:
    """Objects in a bucket, under a prefix.

    What can pass (no connection, no answer, 5xx, SlowDown) is tried again within `patience` and then raises
    StoreUnavailable; what cannot (keys, bucket, region) raises UserError at once. An answer that got lost may hide a
    put or delete that was done: repeating it has the same effect. A process killed during a multipart upload leaves
    parts that no listing shows; MinIO drops them after a day, AWS by a lifecycle rule.
    """

    def __init__(
        self, client: Minio, place: Place, prefix: str, patience: Patience, part_size_bytes: int = PART_SIZE_BYTES
    ) -> None:
        self._client = client
        self._place = place
        self._folder = f"{prefix}/" if prefix else ""
        self._patience = patience
        self._part_size_bytes = part_size_bytes

    @property
    def url(self) -> str:
        """`s3://bucket/prefix`, without the endpoint and without keys."""
        return self._place.url

    def get(self, name: str) -> bytes:
        """Return the whole object; raise ObjectNotFound when there is none."""
        check_name(name)
        return self._call(name, lambda: self._download(self._folder + name))

    def put(self, name: str, data: bytes) -> None:
        """Write the object: visible only when all of it has arrived."""
        check_name(name)
        self._call(name, lambda: self._upload(self._folder + name, io.BytesIO(data), len(data)))

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Put objects over several connections."""
        in_threads(self.put, objects)

    def download(self, name: str, path: Path) -> str:
        """Write the object into a file, in pieces, and return the digest of what was written."""
        check_name(name)
        return self._call(name, lambda: self._save(self._folder + name, path))

    def upload(self, name: str, path: Path) -> None:
        """Write the file as an object, one part of it in memory at a time."""
        check_name(name)
        with explained(path, "reading it"):
            file = path.open("rb")
        with file:
            size_bytes = path.stat().st_size

            def send() -> None:
                file.seek(0)  # a try before may have read some of it
                self._upload(self._folder + name, file, size_bytes, parts_at_once=1)

            self._call(name, send)

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects whose name begins with `prefix`, sorted by name."""
        check_prefix(prefix)
        return sorted(self._call("", lambda: _entries(self._client, self._place.bucket, self._folder, prefix)))

    def delete(self, name: str) -> None:
        """Remove the object; no error when there is none."""
        check_name(name)
        self._call(name, lambda: self._remove(self._folder + name))

    def _download(self, key: str) -> bytes:
        response = self._client.get_object(bucket_name=self._place.bucket, object_name=key)
        try:
            data = response.read()
        finally:
            response.close()
            response.release_conn()
        expected = response.headers.get("Content-Length")
        if expected is not None and int(expected) != len(data):
            raise CorruptObject(f"{self.url}: {key} has {expected} bytes, but {len(data)} arrived.")
        return data

    def _save(self, key: str, path: Path) -> str:
        response = self._client.get_object(bucket_name=self._place.bucket, object_name=key)
        try:
            return write(path, response.stream(PIECE_BYTES))
        finally:
            response.close()
            response.release_conn()

    def _upload(self, key: str, data: BinaryIO, size_bytes: int, parts_at_once: int = _PARTS_AT_ONCE) -> None:
        self._client.put_object(
            bucket_name=self._place.bucket,
            object_name=key,
            data=data,
            length=size_bytes,
            part_size=self._part_size_bytes,
            num_parallel_uploads=parts_at_once,
        )

    def _remove(self, key: str) -> None:
        try:
            self._client.remove_object(bucket_name=self._place.bucket, object_name=key)
        except CAUGHT as error:
            if not is_missing(error):  # S3 says nothing when there is no object; some that speak it do
                raise

    def _call(self, name: str, action: Callable[[], _T]) -> _T:
        """Do `action`, again where that can help."""
        place = replace(self._place, url=f"{self.url}/{name}") if name else self._place
        began_s = time.monotonic()
        tried = 0
        while True:
            try:
                return action()
            except CAUGHT as error:
                if is_missing(error):
                    raise ObjectNotFound(f"{place.url}: there is no such object.") from error
                trouble = self._place.passing(error)
                if trouble is None:
                    raise place.refusal(error) from error
                tried += 1
                since_s = time.monotonic() - began_s
                if self._patience.is_over(tried, since_s):
                    raise StoreUnavailable(
                        f"{self.url}: {trouble} after {tried} tries in {_seconds(since_s)}."
                    ) from error
            time.sleep(self._patience.wait_s(tried, random.random()))


def open_s3(url: str, patience: Patience | None = None, part_size_bytes: int = PART_SIZE_BYTES) -> S3Store:
    """Open `s3://bucket/prefix` with the endpoint and keys of the environment. Talks to no server yet."""
    bucket, _, rest = url.removeprefix("s3://").partition("/")
    prefix = rest.strip("/")
    _check_bucket(bucket)
    if prefix:
        check_name(prefix)
    if len(prefix.encode()) > MAX_PART_BYTES:
        raise UserError(
            f"The prefix in s3://{bucket}/… has {len(prefix.encode())} bytes, allowed are {MAX_PART_BYTES}."
        )
    patience = patience or Patience()
    endpoint = endpoint_from(os.environ)
    place = Place(f"s3://{bucket}/{prefix}" if prefix else f"s3://{bucket}", bucket, endpoint.host)
    return S3Store(endpoint.client(patience), place, prefix, patience, part_size_bytes)


def _entries(client: Minio, bucket: str, folder: str, prefix: str) -> list[Entry]:
    found = client.list_objects(bucket_name=bucket, prefix=folder + prefix, recursive=True)
    return [
        Entry(name, each.size or 0, each.last_modified.timestamp() if each.last_modified else 0.0)
        for each in found
        if is_name(name := (each.object_name or "").removeprefix(folder))
    ]


def _check_bucket(bucket: str) -> None:
    if "@" in bucket:
        raise UserError("An S3 URL holds no keys: write s3://bucket/prefix, and set the keys in the environment.")
    if not _BUCKET.fullmatch(bucket):
        raise UserError(
            f"`{bucket}` cannot be the name of a bucket in s3://bucket/prefix. Allowed: 3 to 63 lower-case letters, "
            "digits, dots and hyphens; a letter or digit at both ends; no two dots in a row."
        )


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.0f} s" if duration_s >= 1 else f"{duration_s:.1f} s"
