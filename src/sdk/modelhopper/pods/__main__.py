"""`python -m modelhopper.pods STEP`: the pods of a Workflow that do not train."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from modelhopper_contract.errors import ExitCode, ModelhopperError
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store, url_of
from modelhopper_scheduler.render.plan import MOST_PODS

BUNDLE_VARIABLE = "MODELHOPPER_BUNDLE"


def main(arguments: Sequence[str], environment: Mapping[str, str], store: Store | None = None) -> int:
    """Run one step and return its exit code; a mistake is one line on standard error.

    `store`: None is the one that the environment names.
    """
    given = _parser().parse_args(arguments)
    try:
        if given.step is _fill:
            return int(_fill(given))
        return int(given.step(given, store or open_store(url_of(environment)), environment))
    except ModelhopperError as error:
        sys.stderr.write(f"{error}\n")
        for note in getattr(error, "__notes__", []):
            sys.stderr.write(f"{note}\n")
        return int(error.exit_code)


def _begin(given: argparse.Namespace, store: Store, environment: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.beginning import Task, begin_pod

    task = Task(
        experiment=given.experiment,
        stations=given.stations,
        convoy=given.convoy,
        most_chains=given.most_chains,
        most_hops=given.most_hops,
        most_pods=given.most_pods,
        longest=given.longest,
        submitted=given.submitted,
    )
    begin_pod(store, task, environment.get(BUNDLE_VARIABLE, ""), given.outputs, _say)
    return ExitCode.DONE


def _judge(given: argparse.Namespace, store: Store, _: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.judging import Rung, judge_pod
    from modelhopper.pods.rungs import Budget

    rung = Rung(
        experiment=given.experiment,
        configurations=given.configurations,
        until=given.until,
        depth=given.depth,
        most_rungs=given.most_rungs,
        budget=Budget(given.since, given.room),
        convoy=given.convoy,
    )
    judge_pod(store, rung, given.outputs, _say)
    return ExitCode.DONE


def _preside(given: argparse.Namespace, store: Store, environment: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.judging import preside_pod

    return preside_pod(store, given.experiment, given.stations, environment, _say)


def _report(given: argparse.Namespace, store: Store, _: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.reporting import Ending, report_pod

    ending = Ending(given.experiment, given.window, given.windows)
    return report_pod(store, ending, _say)


def _begin_scoring(given: argparse.Namespace, store: Store, environment: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.scoring import begin_scoring_pod

    bundle = environment.get(BUNDLE_VARIABLE, "")
    begin_scoring_pod(store, bundle, most_shards=given.most_shards, outputs=given.outputs, say=_say)
    return ExitCode.DONE


def _merge_scoring(given: argparse.Namespace, store: Store, _: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.scoring import merge_scoring_pod

    merge_scoring_pod(store, given.request, given.job, _say)
    return ExitCode.DONE


def _check(_: argparse.Namespace, store: Store, __: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.checking import check_store

    check_store(store)
    _say("The store can be written, read, listed and deleted from.")
    return ExitCode.DONE


def _fill(given: argparse.Namespace) -> ExitCode:
    from modelhopper_trainer.filling import fill

    fill(given.data, given.shard, given.into, _say)
    return ExitCode.DONE


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelhopper.pods")
    steps = parser.add_subparsers(required=True)
    begin = steps.add_parser("begin", help="begin an experiment, or go on with it")
    begin.add_argument("--stations", type=_count)
    begin.add_argument("--most-chains", type=_count)
    begin.add_argument("--most-hops", type=_count)
    begin.add_argument("--most-pods", type=_count, default=MOST_PODS)
    begin.add_argument("--longest", type=_count, help="hops of one chain, where a search judges")
    begin.add_argument("--submitted", type=datetime.fromisoformat, help="when the Workflow was made, RFC 3339")
    begin.set_defaults(step=_begin)
    judge = steps.add_parser("judge", help="judge the configurations at the end of a chain")
    judge.add_argument("--configurations", type=_numbers, required=True, help="their numbers, such as 3,7")
    judge.add_argument("--until", type=_count, required=True, help="the iterations that they were to complete")
    judge.add_argument("--depth", type=_count, required=True, help="of chains of which each follows from another")
    judge.add_argument("--most-rungs", type=_count, required=True, help="how deep they may be")
    judge.add_argument("--since", type=int, required=True, help="the first turn that this Workflow may have made")
    judge.add_argument("--room", type=int, required=True, help="pods that this Workflow has for what follows")
    judge.set_defaults(step=_judge)
    preside = steps.add_parser("preside", help="judge beside stations until the search is over")
    preside.add_argument("--stations", type=_count, required=True)
    preside.set_defaults(step=_preside)
    for step in (begin, judge, preside):
        step.add_argument("--experiment", required=True)
    for step in (begin, judge):
        step.add_argument("--convoy", type=_count, default=1)
        step.add_argument("--outputs", type=Path, default=Path("/tmp/outputs"))  # noqa: S108 -- the pod's own
    report = steps.add_parser("report", help="write the report; fail when the experiment did")
    report.add_argument("--experiment", required=True)
    report.add_argument("--window", type=_count, default=1)
    report.add_argument("--windows", type=_count, default=1)
    report.set_defaults(step=_report)
    scoring = steps.add_parser("begin-scoring", help="settle what is to be scored, or go on with it")
    scoring.add_argument("--most-shards", type=_count, required=True, help="that a Workflow has room for")
    scoring.add_argument("--outputs", type=Path, required=True)
    scoring.set_defaults(step=_begin_scoring)
    merge = steps.add_parser("merge-scoring", help="write what was scored to where it belongs")
    merge.add_argument("--request", required=True)
    merge.add_argument("--job", required=True)
    merge.set_defaults(step=_merge_scoring)
    fill = steps.add_parser("fill", help="fill a volume with one shard")
    fill.add_argument("--data", required=True, help="s3://bucket/prefix of a packed data set")
    fill.add_argument("--shard", type=int, required=True)
    fill.add_argument("--into", type=Path, required=True)
    fill.set_defaults(step=_fill)
    check = steps.add_parser("check", help="try the store")
    check.set_defaults(step=_check)
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
