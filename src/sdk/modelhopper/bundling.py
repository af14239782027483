"""Bundling: everything that an experiment needs elsewhere but its shards, read and checked once."""

from __future__ import annotations

from pathlib import Path

from modelhopper.specify import specified
from modelhopper.warm_start import begun_with
from modelhopper_contract.digest import digest_bytes
from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Experiment
from modelhopper_contract.specification import Specification
from modelhopper_contract.store import Store
from modelhopper_contract.submission import Bundle, Submission
from modelhopper_scheduler.searches.making import planned
from modelhopper_trainer.places import refuse_absolute


def bundle(experiment: Experiment, folder: Path, *, extend: bool = False, store: Store | None = None) -> Bundle:
    """Return an experiment whose relative paths begin at `folder`, with its manifests and the user's files.

    Files are the ones that it names, and the modules beside them that they import. Raises what `specified` raises, and
    UserError for a file that is named by an absolute path: other machines find files by their path from the folder.
    `store` is the cluster's, which a warm start reads.
    """
    specification, manifests = specified(experiment, folder)
    specification, chosen, _ = begun_with(specification, planned(specification), store)
    refuse_absolute(specification.files)
    contents = {written: _content(specification, written) for written in specification.files}
    submission = Submission(
        specification=specification,
        configurations=tuple(chosen),
        manifests=manifests,
        files=specification.files,
        extend=extend,
    )
    return Bundle(submission, contents)


def _content(specification: Specification, written: str) -> bytes:
    data = specification.path(written).read_bytes()
    if digest_bytes(data) != specification.digests[written]:
        raise SpecError(f"`{written}` was changed while it was read. Try again when it is at rest.")
    return data
