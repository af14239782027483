"""What an evaluation found: for programs as JSON, for people as a short table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelhopper.tables import Column, Table, number
from modelhopper_contract.errors import UserError
from modelhopper_contract.manifest import ClassValue, Output
from modelhopper_contract.scoring import Counts, Job, Merged

MOST_CELLS = 100  # classes of a confusion matrix that is written as one
MOST_CURVES = 20  # classes whose curves are written point by point

_SHOWN = 30  # classes in a table, and of a matrix at most 12
_SHOWN_MATRIX = 12


@dataclass(frozen=True)
class ModelResult:
    """One model: its loss and metrics, and what is known of each output with classes."""

    model: str
    metrics: Mapping[str, float]
    outputs: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Evaluation:
    """How well models do on some data. Shows itself as a table."""

    data: str
    rows: int
    models: tuple[ModelResult, ...]

    @property
    def metrics(self) -> Mapping[str, float]:
        """The loss and metrics of the first model."""
        return self.models[0].metrics

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        """What is known of the first model's outputs with classes."""
        return self.models[0].outputs

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds that were chosen for the first model, by output."""
        return {name: one["threshold"]["threshold"] for name, one in self.outputs.items() if "threshold" in one}

    def records(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        models = [
            {"model": one.model, "metrics": dict(one.metrics), "outputs": {k: dict(v) for k, v in one.outputs.items()}}
            for one in self.models
        ]
        return {"data": self.data, "rows": self.rows, "models": models}

    @classmethod
    def from_records(cls, records: Mapping[str, Any]) -> Evaluation:
        """Return what `records` gave."""
        return cls(records["data"], records["rows"], tuple(ModelResult(**one) for one in records["models"]))

    def save(self, path: str | Path) -> None:
        """Write all of it as JSON, whole or not at all; numbers that are none are null."""
        target = Path(path).expanduser()
        scratch = target.with_name(f".{target.name}.writing")
        try:
            scratch.write_text(json.dumps(_finite(self.records()), indent=1, ensure_ascii=False) + "\n")
            scratch.replace(target)
        except OSError as error:
            scratch.unlink(missing_ok=True)
            raise UserError(f"{target} cannot be written: {error.strerror}.") from error

    def text(self, width: int | None = None) -> str:
        """Return the table."""
        lines = [f"{self.rows:,} rows of {self.data}"]
        for one in self.models:
            lines += ["", f"model {one.model}", *_metric_lines(one.metrics)]
            for name, found in one.outputs.items():
                lines += _output_lines(name, found, width)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()


def evaluation_of(job: Job, merged: Merged, data: str, rule: str | None) -> Evaluation:
    """Return what the merged numbers of a job say; `rule`: by which thresholds are chosen."""
    models = tuple(
        ModelResult(
            model=scored.label,
            metrics=metrics,
            outputs={
                output.name: _output(job, output, counts[output.name], rule)
                for output in job.outputs
                if output.name in counts
            },
        )
        for scored, metrics, counts in zip(job.models, merged.metrics, merged.counts, strict=True)
    )
    return Evaluation(data, job.rows, models)


def _output(job: Job, output: Output, counts: Counts, rule: str | None) -> dict[str, Any]:
    from modelhopper_trainer.scoring import curves
    from modelhopper_trainer.scoring.answers import class_values, threshold_of

    classes = class_values(output)
    table = curves.matrix(counts, max(len(classes), output.num_classes or 0))[: len(classes), : len(classes)]
    found = {one: curves.curve(counts, one) for one in counts.scores}
    threshold = threshold_of(job.answer, output)
    result: dict[str, Any] = {
        "classes": list(classes),
        "accuracy": float(table.diagonal().sum()) / max(int(table.sum()), 1),
        **({} if threshold is None else {"decided_at": threshold}),
        "per_class": [
            {
                "class": classes[one],
                "rows": report.rows,
                "precision": report.precision,
                "recall": report.recall,
                "f1": report.f1,
                **({"auc": found[one].area, "average_precision": found[one].average_precision} if one in found else {}),
            }
            for one, report in enumerate(curves.class_reports(table))
        ],
        **_confusion(table.tolist(), counts, len(classes)),
        "curves": [{"class": classes[one], "points": each.points()} for one, each in list(found.items())[:MOST_CURVES]],
    }
    if rule is not None and len(classes) == 2:
        (one,) = found
        result["threshold"] = {"rule": rule, "positive": classes[one], **curves.choose(found[one], rule)}
    return result


def _confusion(table: list[list[int]], counts: Counts, classes: int) -> dict[str, Any]:
    """Return rows by actual class and told class: as a matrix, or of many classes only what is not 0."""
    if classes <= MOST_CELLS:
        return {"confusion": table}
    return {"confusion_cells": [list(cell) for cell in counts.confusion]}


def _metric_lines(metrics: Mapping[str, float]) -> list[str]:
    return [f"  {name:<24}  {number(value)}" for name, value in metrics.items()]


def _output_lines(name: str, found: Mapping[str, Any], width: int | None) -> list[str]:
    reports = found["per_class"]
    shown = reports[:_SHOWN]
    keys = [key for key in ("precision", "recall", "f1", "auc", "average_precision") if key in _keys(reports)]
    columns = [Column(name, [_class(one["class"]) for one in shown], is_number=False)]
    columns += [Column(key.replace("_", " "), [_cell(one.get(key)) for one in shown]) for key in keys]
    columns += [Column("rows", [f"{one['rows']:,}" for one in shown])]
    lines = ["", *Table(columns).lines(width)]
    lines += [f"... and {len(reports) - _SHOWN} more classes"] if len(reports) > _SHOWN else []
    if len(reports) <= _SHOWN_MATRIX:
        lines += ["", *_matrix_lines(found, width)]
    if "threshold" in found:
        lines += ["", _threshold_line(found["threshold"])]
    return lines


def _matrix_lines(found: Mapping[str, Any], width: int | None) -> list[str]:
    names = [_class(one) for one in found["classes"]]
    columns = [Column("actual", names, is_number=False)]
    for at, name in enumerate(names):
        columns.append(Column(name, [f"{row[at]:,}" for row in found["confusion"]], group="told"))
    return Table(columns).lines(width)


def _threshold_line(found: Mapping[str, Any]) -> str:
    reached = ", ".join(f"{name} {number(found[name])}" for name in ("precision", "recall", "f1"))
    return f"{_class(found['positive'])} above {found['threshold']:g} ({found['rule']}): {reached}"


def _keys(reports: Sequence[Mapping[str, Any]]) -> set[str]:
    return {key for one in reports for key in one}


def _class(value: ClassValue) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cell(value: float | None) -> str:
    return "-" if value is None else number(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
