"""Files inside a Workflow: a record and the contents of the files that it names, as one text."""

from __future__ import annotations

import base64
import bz2
import json
from collections.abc import Mapping
from typing import TypeVar

from modelhopper_contract.errors import CorruptObject
from modelhopper_contract.record import Record, canonical_json

R = TypeVar("R", bound=Record)


def encode(key: str, record: Record, contents: Mapping[str, bytes]) -> str:
    """Return a record, which stands under `key`, and contents by name as text without braces, which Argo would take.

    The same give the same text everywhere: bzip2 has one implementation, and no header with a time.
    """
    files = {name: base64.b64encode(data).decode() for name, data in contents.items()}
    whole = {key: record.model_dump(mode="json"), "files": files}
    return base64.b64encode(bz2.compress(canonical_json(whole))).decode()


def decode(text: str, key: str, kind: type[R], what: str) -> tuple[R, dict[str, bytes]]:
    """Read what `encode` returned; raise CorruptObject, which says `what` cannot be read, for anything else."""
    try:
        whole = json.loads(bz2.decompress(base64.b64decode(text, validate=True)))
        record = kind.model_validate(whole[key])
        contents = {name: base64.b64decode(data) for name, data in whole["files"].items()}
    except (ValueError, OSError, KeyError, TypeError, AttributeError) as error:
        raise CorruptObject(f"{what} cannot be read: {error}") from error
    return record, contents
