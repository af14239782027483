"""What a Workflow's status shows: a tree of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SUCCESSFUL = ("Succeeded", "Skipped")
UNSUCCESSFUL = ("Failed", "Error")


@dataclass(eq=False)
class Node:
    """One node as Argo's status shows it.

    `kind` is Pod, Retry, Steps, StepGroup or Skipped; `phase` is Pending, Running, Succeeded, Skipped, Failed or Error.
    `begun` and `ended` are numbers of a clock that ticks with every event of the fake, so that a test can compare them
    across nodes and runs; 0 means not yet. A skipped node has no inputs, because Argo does not resolve its arguments.
    """

    name: str
    kind: str
    template: str = ""
    phase: str = "Running"
    message: str = ""
    exit_code: int | None = None
    pod_name: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    begun: int = 0
    ended: int = 0

    @property
    def unsuccessful(self) -> bool:
        """Failed or Error."""
        return self.phase in UNSUCCESSFUL

    @property
    def fulfilled(self) -> bool:
        """Nothing will happen to it any more."""
        return self.phase in SUCCESSFUL + UNSUCCESSFUL
