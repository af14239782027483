"""`python -m modelhopper.pods STEP`: the pods of a Workflow that do not train."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from modelhopper.defaults import STORE_VARIABLE
from modelhopper_contract.errors import ExitCode, ModelhopperError, UserError
from modelhopper_contract.store import Store
from modelhopper_contract.stores import open_store

BUNDLE_VARIABLE = "MODELHOPPER_BUNDLE"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one step and return its exit code; a mistake is one line on standard error."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.step(given, environment))
    except ModelhopperError as error:
        sys.stderr.write(f"{error}\n")
        for note in getattr(error, "__notes__", []):
            sys.stderr.write(f"{note}\n")
        return int(error.exit_code)


def _begin(given: argparse.Namespace, environment: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.beginning import Task, begin_pod

    task = Task(
        experiment=given.experiment,
        stations=given.stations,
        convoy=given.convoy,
        most_chains=given.most_chains,
        most_hops=given.most_hops,
        submitted=given.submitted,
    )
    begin_pod(_store(environment), task, environment.get(BUNDLE_VARIABLE, ""), given.outputs, _say)
    return ExitCode.DONE


def _report(given: argparse.Namespace, environment: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.reporting import Ending, report_pod

    ending = Ending(given.experiment, given.window, given.windows)
    return report_pod(_store(environment), ending, _say)


def _check(_: argparse.Namespace, environment: Mapping[str, str]) -> ExitCode:
    from modelhopper.pods.checking import check_store

    check_store(_store(environment))
    _say("The store can be written, read, listed and deleted from.")
    return ExitCode.DONE


def _fill(given: argparse.Namespace, _: Mapping[str, str]) -> ExitCode:
    from modelhopper_trainer.filling import fill

    fill(given.data, given.shard, given.into, _say)
    return ExitCode.DONE


def _store(environment: Mapping[str, str]) -> Store:
    url = environment.get(STORE_VARIABLE)
    if not url:
        raise UserError(f"{STORE_VARIABLE} is not set: it names the store, such as s3://bucket/prefix.")
    return open_store(url)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="modelhopper.pods")
    steps = parser.add_subparsers(required=True)
    begin = steps.add_parser("begin", help="begin an experiment, or go on with it")
    begin.add_argument("--experiment", required=True)
    begin.add_argument("--stations", type=_count)
    begin.add_argument("--convoy", type=_count, default=1)
    begin.add_argument("--most-chains", type=_count)
    begin.add_argument("--most-hops", type=_count)
    begin.add_argument("--submitted", type=datetime.fromisoformat, help="when the Workflow was made, RFC 3339")
    begin.add_argument("--outputs", type=Path, default=Path("/tmp/outputs"))  # noqa: S108 -- the pod's own
    begin.set_defaults(step=_begin)
    report = steps.add_parser("report", help="write the report; fail when the experiment did")
    report.add_argument("--experiment", required=True)
    report.add_argument("--window", type=_count, default=1)
    report.add_argument("--windows", type=_count, default=1)
    report.set_defaults(step=_report)
    fill = steps.add_parser("fill", help="fill a volume with one shard")
    fill.add_argument("--data", required=True, help="s3://bucket/prefix of a packed data set")
    fill.add_argument("--shard", type=int, required=True)
    fill.add_argument("--into", type=Path, required=True)
    fill.set_defaults(step=_fill)
    check = steps.add_parser("check", help="try the store")
    check.set_defaults(step=_check)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
