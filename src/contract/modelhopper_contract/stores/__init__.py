"""The object stores, one module each, and `open_store`, which picks by URL.

What never happens here: knowing what an object means. `tests/store_contract.py` is the suite that each store passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from modelhopper_contract.addresses import STORE_VARIABLE
from modelhopper_contract.errors import UserError
from modelhopper_contract.nearest import did_you_mean
from modelhopper_contract.store import Store
from modelhopper_contract.stores.directory import DirectoryStore
from modelhopper_contract.stores.memory import MemoryStore

if TYPE_CHECKING:
    from modelhopper_contract.stores.s3_notifications import Notifications

_ALLOWED = "Allowed: a path, file:///path, s3://bucket/prefix, or memory:"
_SCHEMES = ("file", "s3", "memory")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def open_store(url: str) -> Store:
    """Open the store at `url`; nothing is made or asked until it is used.

    A path or `file:///path` is a directory, `s3://bucket/prefix` a bucket on the server that the environment names,
    `memory:` a new store in this process. Raises UserError for any other URL, and for S3 without keys.
    """
    if not url.strip():
        raise UserError(f"The store's URL is empty. {_ALLOWED}.")
    found = _SCHEME.match(url)
    scheme = found.group(1).lower() if found else ""
    if not scheme:
        return _directory(url)
    if scheme == "file":
        return _directory(_path_of(url))
    if scheme == "s3" and url[2:5] == "://":
        return _bucket("s3" + url[2:])
    if url == "memory:":
        return MemoryStore()
    raise UserError(_unknown(url, scheme))


def url_of(environment: Mapping[str, str]) -> str:
    """Return the URL of the store that a pod's environment names; raise UserError where it names none."""
    url = environment.get(STORE_VARIABLE)
    if not url:
        raise UserError(f"{STORE_VARIABLE} is not set: it names the store, such as s3://bucket/prefix.")
    return url


def listen(url: str, prefix: str, ring: Callable[[], None]) -> Notifications | None:
    """Return what calls `ring` soon after an object is put under `prefix`; None where the store's kind cannot tell."""
    if not url.startswith("s3://"):
        return None
    from modelhopper_contract.stores.s3_notifications import notifications  # noqa: PLC0415 -- as for the bucket

    return notifications(url, prefix, ring)


def _directory(path: str) -> Store:
    if "\0" in path:
        raise UserError(f"{path!r} cannot be a path.")
    at_home = path == "~" or path.startswith("~/")
    return DirectoryStore(Path(path).expanduser() if at_home else Path(path))


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or parts.query or parts.fragment:
        raise UserError(f"`{url}` is not a file URL of this machine; write file:///path, or just the path.")
    return path


def _bucket(url: str) -> Store:
    try:
        from modelhopper_contract.stores.s3 import open_s3  # noqa: PLC0415 -- minio loads only where S3 is used
    except ModuleNotFoundError as error:
        if error.name != "minio":
            raise
        raise UserError("An s3:// store needs the package `minio`: pip install minio") from error
    return open_s3(url)


def _unknown(url: str, scheme: str) -> str:
    shown = url if "@" not in url else f"{scheme}:…"  # what stands before an @ may be a password
    near = "" if scheme in _SCHEMES else did_you_mean(scheme, _SCHEMES)
    return f"`{shown}` is not a store.{near} {_ALLOWED}; a path with a colon is written ./{Path(shown).name}."
