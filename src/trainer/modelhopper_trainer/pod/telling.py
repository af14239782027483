"""What happens in a pod, in words for people."""

from __future__ import annotations

from modelhopper_contract.messages import Ended, Evaluated, Event, Started, Trained
from modelhopper_contract.records import History, Outcome
from modelhopper_contract.ring import Ring


def told(event: Event, ring: Ring) -> str | None:
    """Return what tells an event: a line, and the traceback of what a model raised. None says nothing."""
    if isinstance(event, Started):
        return f"configuration {event.configuration}: {_begun(event, ring)}"
    if isinstance(event, Trained):
        hops = f"hop {event.first_hop}" if event.end_hop == event.first_hop + 1 else _span(event)
        return f"configuration {event.configuration}: {hops} trained, loss {event.loss:.6g}, {event.busy_s:.2f} s"
    if isinstance(event, Evaluated):
        return f"configuration {event.history.configuration}: {_metrics(event.history)}"
    if isinstance(event, Ended):
        return f"configuration {event.outcome.configuration}: {ended(event.outcome)}{_traceback(event.outcome)}"
    return None


def ended(outcome: Outcome) -> str:
    """Return how a configuration ended, and why."""
    if outcome.failure is None:
        why = f": {outcome.reason}" if outcome.reason else ""
        return f"{outcome.state} after {outcome.hops_trained} hops{why}"
    return f"{outcome.state} at hop {outcome.failure.hop}: {outcome.failure.reason}"


def _traceback(outcome: Outcome) -> str:
    return f"\n{outcome.failure.traceback.rstrip()}" if outcome.failure and outcome.failure.traceback else ""


def _begun(event: Started, ring: Ring) -> str:
    iteration = ring.iteration(event.hop)
    if event.action == "evaluate":
        return f"evaluating it after iteration {iteration}"
    return f"training hop {event.hop} of {ring.hops}, in iteration {iteration + 1}"


def _span(event: Trained) -> str:
    return f"hops {event.first_hop} to {event.end_hop - 1}"


def _metrics(history: History) -> str:
    parts = [_values("training", history.training)]
    if history.validation is not None:
        parts.append(_values("validation", history.validation))
    return f"iteration {history.iteration} evaluated: {'; '.join(parts)}"


def _values(split: str, metrics: dict[str, float]) -> str:
    ordered = sorted(metrics.items(), key=lambda metric: metric[0] != "loss")  # the loss first
    return f"{split} " + ", ".join(f"{name} {value:.6g}" for name, value in ordered)
