"""Why the fake stops: a manifest that it, or Argo, would not run, and a node that Argo marks `Error`."""

from __future__ import annotations


class ManifestError(Exception):
    """This manifest is wrong: Argo, Kubernetes or the fake refuses it. It ends the run, and `Run.wait` raises it."""


class Unsupported(ManifestError):
    """The manifest uses something of Argo that the fake does not know; the message names the field."""


class Unresolved(ManifestError):
    """A `{{tag}}` names nothing that exists where it stands. Argo's own validation refuses most of these."""


class NodeError(Exception):
    """Argo marks the node `Error` with this message and the Workflow goes on as its `continueOn` says."""
