"""A run as plain lines: for log files, pipes and notebooks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelhopper.display.compiled import chosen
from modelhopper.display.progress import Progress
from modelhopper.display.sentences import best, hops
from modelhopper.display.words import count, duration, metric
from modelhopper_contract.messages import Built, Chosen, Ended, Evaluated, Event
from modelhopper_contract.records import Failure, History, Outcome

_NEWS_GAP_S = 0.5
_SHORTEST_GAP_S = 2.0
_LONGEST_GAP_S = 60.0


@dataclass(frozen=True)
class Pace:
    """When something was last said, so that a log stays readable."""

    news_s: float = float("-inf")
    progress_s: float = float("-inf")


def told(before: Progress, now: Progress, event: Event, pace: Pace) -> tuple[list[str], Pace]:
    """Return the lines that an event is worth, and the pace after them.

    Failures and the end of the preparation are always told. Evaluations, and who is stopped, are told at most twice a
    second. How far the
    run is, is told every two seconds at first and every minute in the end.
    """
    now_s = now.last_s
    lines = lasting(before, now, event)
    news = _news(before, now, event)
    if news is not None and now_s - pace.news_s >= _NEWS_GAP_S:
        lines.append(news)
        pace = replace(pace, news_s=now_s)
    if pace.progress_s == float("-inf"):
        pace = replace(pace, progress_s=now.began_s)
    has_more = before.built < now.built < len(now.configurations) or now.serving_s is not None
    if has_more and now_s - pace.progress_s >= _gap_s(now_s - now.began_s):
        lines.append(_progress(now))
        pace = replace(pace, progress_s=now_s)
    return lines, pace


def lasting(before: Progress, now: Progress, event: Event) -> list[str]:
    """Return the lines that every display says: a failure, once; of the preparation what was chosen, and its end.

    Notes that were made meanwhile are said once each.
    """
    if isinstance(event, Chosen):
        return chosen(event)
    if isinstance(event, Ended) and event.outcome.failure is not None and not _had_ended(before, event.outcome):
        return [_failed(event.outcome.configuration, event.outcome.failure)]
    if isinstance(event, Built):
        end = [_built(now)] if before.built < now.built == len(now.configurations) else []
        return [*sorted(now.notes - before.notes), *end]
    return []


def _news(before: Progress, now: Progress, event: Event) -> str | None:
    if isinstance(event, Evaluated) and event.history.configuration not in now.outcomes:
        return _evaluation(now, event.history)
    if isinstance(event, Ended) and event.outcome.state == "stopped" and not _had_ended(before, event.outcome):
        return f"configuration {event.outcome.configuration} stopped: {event.outcome.reason}"
    return None


def _had_ended(progress: Progress, outcome: Outcome) -> bool:
    # Who finds that a configuration has ended tells it again: whoever ended it may have been killed before that.
    return outcome.configuration in progress.outcomes


def _built(progress: Progress) -> str:
    return f"built {count(progress.built, 'configuration')} in {duration(progress.last_s - progress.began_s)}"


def _failed(configuration: int, failure: Failure) -> str:
    return f"configuration {configuration} failed at hop {failure.hop}: {failure.reason}"


def _evaluation(progress: Progress, history: History) -> str:
    at = f"configuration {history.configuration}: iteration {history.iteration} of {progress.ring.iterations}"
    ranks = progress.metric
    value = ranks.of(history) if ranks else None
    is_best = progress.best is not None and progress.best[0] == history.configuration
    return at + (f", {ranks} {metric(value)}" if value is not None else "") + (", in the lead" if is_best else "")


def _progress(progress: Progress) -> str:
    if progress.serving_s is None:
        return f"built {progress.built} of {count(len(progress.configurations), 'configuration')}"
    said = best(progress)
    return hops(progress, progress.last_s) + (f"; {said}" if said else "")


def _gap_s(elapsed_s: float) -> float:
    return min(_LONGEST_GAP_S, max(_SHORTEST_GAP_S, elapsed_s / 10))
