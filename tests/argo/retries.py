"""Decides whether a pod that failed is tried again, in the order in which Argo asks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.argo.expressions import ExpressionError, parse
from tests.argo.nodes import Node
from tests.argo.refusals import ManifestError

# Which phases of the last attempt each policy retries.
POLICIES = {"Always": {"Failed", "Error"}, "OnFailure": {"Failed"}, "OnError": {"Error"}}
UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Verdict:
    """How a Retry node ends."""

    phase: str
    message: str


def last_retry(attempts: Sequence[Node]) -> dict[str, str]:
    """What `{{retries}}` and `{{lastRetry.*}}` are in the next attempt. Before the first, the exit code is "0"."""
    last = attempts[-1] if attempts else None
    return {
        "retries": str(len(attempts)),
        "lastRetry.exitCode": "0" if last is None or last.exit_code is None else str(last.exit_code),
        "lastRetry.status": "" if last is None else last.phase,
        "lastRetry.message": "" if last is None else last.message,
    }


def verdict(strategy: Mapping[str, Any], attempts: Sequence[Node]) -> Verdict | None:
    """The end of the Retry node after these attempts, or None to try again.

    The backoff takes no time here; but the waits that it would take count against its `maxDuration`.
    """
    last = attempts[-1]
    if not last.unsuccessful:
        return Verdict("Succeeded", "")
    if _too_long(strategy.get("backoff"), len(attempts)):
        return Verdict(last.phase, "Backoff would exceed max duration limit")
    if last.phase not in POLICIES[_policy(strategy)]:
        return Verdict(last.phase, last.message)
    if "limit" in strategy and len(attempts) > int(strategy["limit"]):
        return Verdict(last.phase, "No more retries left")
    if not _wanted(strategy.get("expression", "true"), attempts):
        return Verdict(last.phase, "retryStrategy.expression evaluated to false")
    return None


def _policy(strategy: Mapping[str, Any]) -> str:
    policy = str(strategy.get("retryPolicy", "Always" if "expression" in strategy else "OnFailure"))
    if policy not in POLICIES:
        raise ManifestError(f"retryPolicy is '{policy}'; the fake knows {', '.join(sorted(POLICIES))}")
    return policy


def _wanted(text: str, attempts: Sequence[Node]) -> bool:
    last = attempts[-1]
    # Here, unlike in the pod, a pod without an exit code has -1, and retries are those already made.
    values = last_retry(attempts) | {
        "retries": str(len(attempts) - 1),
        "lastRetry.exitCode": "-1" if last.exit_code is None else str(last.exit_code),
    }
    try:
        expression = parse(text)
        missing = sorted(expression.names() - values.keys())
        wanted = expression.value(values)
    except ExpressionError as error:
        raise ManifestError(f"retryStrategy.expression: {error}") from error
    if missing or not isinstance(wanted, bool):
        raise ManifestError(f"retryStrategy.expression '{text}' is {wanted!r}; unknown names: {missing}")
    return wanted


def _too_long(backoff: Mapping[str, Any] | None, attempts: int) -> bool:
    if backoff is None:
        return False
    if "duration" not in backoff:
        raise ManifestError("no base duration specified for retryStrategy.backoff")
    waits_s = [_wait_s(backoff, number) for number in range(attempts)]
    return "maxDuration" in backoff and sum(waits_s) > _seconds(backoff["maxDuration"])


def _wait_s(backoff: Mapping[str, Any], number: int) -> float:
    factor = int(backoff.get("factor", 0))
    wait_s = _seconds(backoff["duration"]) * (factor**number if factor > 0 else 1)
    return min(wait_s, _seconds(backoff["cap"])) if "cap" in backoff else wait_s


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None:
        raise ManifestError(f"the fake reads durations like 5s, 2m or 1h, not '{text}'")
    return float(match[1]) * UNITS_S[match[2]]
