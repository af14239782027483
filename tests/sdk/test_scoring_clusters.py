"""What is asked of a cluster to score: the same words make the same name, and what cannot be done there is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import modelhopper as mh
from modelhopper.command import main
from modelhopper.scoring_clusters import requested
from modelhopper_contract.cluster import Cluster
from modelhopper_contract.errors import CorruptObject, ModelhopperError, UserError
from modelhopper_contract.scoring_request import ScoringBundle, ScoringRequest
from modelhopper_scheduler.workflow_api import WorkflowState

CLUSTER = Cluster(store="s3://bucket/runs")
DATA, OUT = "s3://bucket/data", "s3://bucket/told.parquet"
CHOSEN = {"rule": "f1", "positive": "yes", "threshold": 0.25, "precision": 1.0, "recall": 1.0, "f1": 1.0}


def asked(models: Any = "iris", **more: Any) -> ScoringRequest:
    return requested(CLUSTER, "predict", models, DATA, out=OUT, **more).bundle.request


def test_the_same_words_make_the_same_name_and_others_another() -> None:
    assert asked(top=2).name == asked(["iris"], top=2).name
    assert asked().name != asked(top=2).name
    assert asked().name.startswith("predict-iris-")


@given(st.text(min_size=1))
def test_a_name_is_a_label_of_kubernetes_whatever_the_model_is_called(model: str) -> None:
    name = ScoringRequest(action="evaluate", models=(model,)).name
    assert len(name) <= 57  # a Workflow adds six letters
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_what_an_evaluation_chose_travels_without_its_curves(tmp_path: Path) -> None:
    output = {"threshold": CHOSEN, "curves": [{"points": [0.0] * 100}]}
    evaluation = tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps({"models": [{"outputs": {"fraud": output}}]}))
    proposal = requested(CLUSTER, "predict", "iris", DATA, out=OUT, threshold=evaluation)
    (content,) = proposal.bundle.contents.values()
    assert json.loads(content) == {"models": [{"outputs": {"fraud": {"threshold": CHOSEN}}}]}


def test_a_file_travels_with_its_card_and_comes_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "best.keras").write_bytes(b"model")
    (tmp_path / "best.card.json").write_bytes(b"card")
    bundle = requested(CLUSTER, "predict", tmp_path / "best.keras", DATA, out=OUT).bundle
    assert ScoringBundle.decode(bundle.encode()).contents == {"best.keras": b"model", "best.card.json": b"card"}
    with pytest.raises(CorruptObject, match="not those that were given"):
        ScoringBundle.decode(ScoringBundle(bundle.request, {"best.keras": b"other"}).encode())


def test_a_word_that_means_nothing_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"`treshold`.* Did you mean `threshold`"):
        asked(treshold=0.5)


def test_the_command_renders_the_workflow_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "cluster.yaml", tmp_path / "workflow.yaml"
    file.write_text(yaml.safe_dump({"store": CLUSTER.store}))
    command = ["predict", "iris", "--data", DATA, "--out", OUT, "--cluster", str(file)]
    assert main([*command, "--render", str(out)]) == 0
    assert yaml.safe_load(out.read_text())["metadata"]["generateName"] == f"{asked(batch_size=1024).name}-"
    assert main([*command, "--workers", "2"]) == 2
    assert "leave out --workers" in capsys.readouterr().err


def test_from_python_a_workflow_is_sent_and_its_failure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def create(_: Cluster, documents: list[Any], **__: Any) -> list[str]:
        sent.extend(documents)
        return ["predict-1"]

    monkeypatch.setattr("modelhopper_scheduler.workflow_api.create", create)
    states = [WorkflowState("predict-1", "Failed", "child failed.", "")]
    monkeypatch.setattr("modelhopper_scheduler.workflow_api.wait", lambda *_: states)
    found = mh.Argo(CLUSTER).predict("iris", DATA, OUT, top=2)
    assert [one["metadata"]["generateName"] for one in sent] == [f"{asked(top=2).name}-"]
    with pytest.raises(ModelhopperError, match=r"predict-1 ended as Failed. child failed. .* goes on"):
        found.wait()
