"""A run as plain lines: for log files, pipes and notebooks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelhopper_contract.messages import Built, Ended, Evaluated, Event
from modelhopper_contract.records import History

from modelhopper.display.progress import Progress
from modelhopper.display.words import best, count, hops
from modelhopper.tables import duration, number

_NEWS_GAP_S = 0.5
_SHORTEST_GAP_S = 2.0
_LONGEST_GAP_S = 60.0


@dataclass(frozen=True)
class Pace:
    """When something was last said, so that a log stays readable."""

    news_s: float = float("-inf")
    progress_s: float = float("-inf")


def told(before: Progress, now: Progress, event: Event, pace: Pace, now_s: float) -> tuple[list[str], Pace]:
    """Return the lines that an event is worth, and the pace after them.

    Failures and the end of the preparation are always told. Evaluations are told at most twice a second. How far the
    run is, is told every two seconds at first and every minute in the end.
    """
    lines = _always(before, now, event, now_s)
    if isinstance(event, Evaluated) and now_s - pace.news_s >= _NEWS_GAP_S:
        lines.append(_evaluation(now, event.history))
        pace = replace(pace, news_s=now_s)
    if pace.progress_s == float("-inf"):
        pace = replace(pace, progress_s=now.began_s)
    if not lines and now_s - pace.progress_s >= _gap_s(now_s - now.began_s):
        lines.append(_progress(now, now_s))
        pace = replace(pace, progress_s=now_s)
    return lines, pace


def built(progress: Progress, now_s: float) -> str:
    """Return the line that ends the preparation."""
    return f"built {count(progress.built, 'configuration')} in {duration(now_s - progress.began_s)}"


def failed(event: Ended) -> str:
    """Return the line about a configuration that cannot go on."""
    outcome = event.outcome
    assert outcome.failure is not None
    return f"configuration {outcome.configuration} failed at hop {outcome.failure.hop}: {outcome.failure.reason}"


def _always(before: Progress, now: Progress, event: Event, now_s: float) -> list[str]:
    if isinstance(event, Ended) and event.outcome.failure is not None:
        return [failed(event)]
    if isinstance(event, Built) and before.built < now.built == len(now.configurations):
        return [built(now, now_s)]
    return []


def _evaluation(progress: Progress, history: History) -> str:
    metric = progress.metric
    value = number(metric.of(history)) if metric else ""
    is_best = progress.best is not None and progress.best[0] == history.configuration
    at = f"configuration {history.configuration}: iteration {history.iteration} of {progress.ring.iterations}"
    return f"{at}, {metric} {value}{', the best so far' if is_best else ''}"


def _progress(progress: Progress, now_s: float) -> str:
    if progress.serving_s is None:
        return f"built {progress.built} of {count(len(progress.configurations), 'configuration')}"
    said = best(progress)
    return hops(progress, now_s) + (f"; {said}" if said else "")


def _gap_s(elapsed_s: float) -> float:
    return min(_LONGEST_GAP_S, max(_SHORTEST_GAP_S, elapsed_s / 10))
