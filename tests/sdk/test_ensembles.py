"""Ensembles of real runs: who is in them, what they are worth, and what a user can get wrong. Trained once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelhopper import parts
from modelhopper.command import main
from modelhopper.ensembles import Ensemble, ensemble, ensemble_of
from modelhopper.experiment import Experiment
from modelhopper.members import read_reference
from modelhopper.results import Run, open_run
from modelhopper_contract.errors import DataError, UserError
from modelhopper_contract.model_card import read_card
from modelhopper_trainer.packing import pack

pytestmark = pytest.mark.xdist_group("tensorflow")

# Keras' own save copies its variables in a way that numpy 2 warns of.
KERAS_COPIES = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:keras")

MODELS = """
import keras

def mlp(units=6):
    return keras.Sequential([
        keras.Input((4,)),
        keras.layers.Dense(units, "relu"),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(3, "softmax"),
    ])

def linear():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
"""
NAMES = np.array(["setosa", "versicolor", "virginica"])


def drawn(seed: int, rows: int, names: Any = NAMES) -> tuple[Any, Any]:
    x = np.random.default_rng(seed).integers(0, 256, (rows, 4)).astype(np.uint8)
    return x, names[x.argmax(1) % 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a model file, and finished runs in `runs`: iris with one that failed, other of other classes, folded."""
    at = tmp_path_factory.mktemp("ensembles")
    (at / "models.py").write_text(MODELS)
    (at / "models.json").write_text("{}")
    pack(drawn(0, 40), at / "train", shards=2, normalize=255.0)
    pack(drawn(1, 24), at / "valid", shards=2, against=at / "train")
    pack(drawn(2, 30), at / "more", shards=1, against=at / "train")
    pack(drawn(0, 20, np.array(["a", "b", "c"])), at / "other", shards=2, normalize=255.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        rates = {"name": "SGD", "learning_rate": [0.5, 1e39]}
        _experiment("iris", optimizer=[rates], model=["mlp", "linear"]).run("inline", progress=False)
        _experiment("other", train="other", validation=None).run("inline", progress=False)
        _experiment("folded", validation=None, model=["mlp", "linear"], folds=2).run("inline", progress=False)
    return at


def _experiment(name: str, train: str = "train", validation: str | None = "valid", **given: Any) -> Experiment:
    folds = {"folds": given.pop("folds")} if "folds" in given else {}
    space = {"model": ["mlp"], "batch_size": [4], "optimizer": ["Adam"], **given}
    return Experiment(
        name=name,
        data=parts.Data(train=train, validation=validation),
        models={"mlp": "models.py:mlp", "linear": "models.py:linear"},
        compile={"loss": "categorical_crossentropy", "metrics": ["accuracy"]},
        search=parts.Grid(**space),
        iterations=2,
        evaluate_every=1,
        keep_checkpoints="iterations",
        devices=parts.Devices(kind="cpu", stations=1),
        **folds,
    )


@pytest.fixture
def run(folder: Path) -> Run:
    return open_run(folder / "runs" / "iris")


@pytest.fixture
def folded(folder: Path) -> Run:
    return open_run(folder / "runs" / "folded")


@pytest.fixture
def typed(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in the user's folder; return what it says, with what goes wrong."""
    monkeypatch.chdir(folder)

    def run(*arguments: str, code: int = 0) -> str:
        assert main(["ensemble", *arguments]) == code
        found = capsys.readouterr()
        return found.out + found.err

    return run


def good(run: Run) -> list[int]:
    return [row.number for row in run.leaderboard().rows if row.failure is None]


def test_the_best_are_chosen_and_who_failed_is_left_out_and_named(run: Run) -> None:
    found = run.ensemble(best=4)
    assert [one.number for one in found.members] == good(run)
    assert len(found.members) == 2
    assert "4 were asked for, and 2 of 4 can be used; 2, 4 failed." in found.text()


def test_it_predicts_the_average_of_its_members(run: Run) -> None:
    found = run.ensemble(best=2)
    x, _ = drawn(5, 9)
    each = [run.configuration(number).predict(x).probabilities for number in good(run)]
    said = found.predict(x)
    assert np.allclose(said.probabilities, np.mean(each, axis=0), atol=1e-6)
    assert said.names == tuple(NAMES)


def test_its_metrics_are_exact_and_its_members_as_recorded(run: Run, folder: Path) -> None:
    found = run.ensemble(best=2)
    said = found.predict(folder / "valid").classes
    labels = _labels(folder / "valid")
    assert np.isclose(
        found.metrics["validation accuracy"], np.mean([a == b for a, b in zip(said, labels, strict=True)])
    )
    recorded = [run.configuration(number).metrics["validation accuracy"] for number in good(run)]
    assert [one["validation accuracy"] for one in found.member_metrics] == recorded
    assert found.records()[-1]["member"] == "all"
    lines = found.text().splitlines()
    assert lines[0] == "the best 2 of iris by validation accuracy: the average of what they predict"
    assert any(line.lstrip().startswith("all") for line in lines)


def _labels(place: Path) -> list[Any]:
    from modelhopper_trainer.shards import open_data

    data = open_data(place)
    shards = [data.shard(number).outputs["y"] for number in range(len(data.manifest.shards))]
    found: list[Any] = NAMES[np.concatenate(shards)].tolist()
    return found


def test_snapshots_are_the_states_that_were_kept(run: Run) -> None:
    best = run.best()
    assert best.iterations == [1, 2]
    found = run.ensemble(snapshots=2)
    assert [(one.number, one.snapshot) for one in found.members] == [(best.number, at) for at in (1, 2)]
    x, _ = drawn(5, 9)
    each = [best.at(at).predict(x).probabilities for at in (1, 2)]
    assert not np.allclose(each[0], each[1])
    assert np.allclose(found.predict(x).probabilities, np.mean(each, axis=0), atol=1e-6)
    history = {point.iteration: point.metrics["validation loss"] for point in run.history(best.number).rows}
    assert [one["validation loss"] for one in found.member_metrics] == list(history.values())
    assert best.at(1).evaluate()["loss"] == history[1]


def test_weights_may_follow_the_metric(run: Run) -> None:
    found = run.ensemble(best=2, weights="metric", metric="validation loss")
    losses = [run.configuration(one.number).metrics["validation loss"] for one in found.members]
    assert found.combination.weights is not None
    assert np.allclose(found.combination.weights, [1 / loss for loss in losses])
    assert "weight" in found.text()


def test_stacking_says_what_it_learned_from_and_is_deterministic(run: Run) -> None:
    found = run.ensemble(best=2, combine="stack")
    assert "Stacking learned from valid, so the ensemble's own metrics there are optimistic" in found.text()
    x, _ = drawn(5, 9)
    again = run.ensemble(best=2, combine="stack")
    assert np.array_equal(found.predict(x).probabilities, again.predict(x).probabilities)
    assert found.metrics == again.metrics


def test_rows_that_are_held_out_are_what_all_are_evaluated_on(run: Run) -> None:
    found = run.ensemble(best=2, combine="stack", holdout=0.25)
    assert "learned from 75% of" in found.notes[-1]
    whole = run.ensemble(best=2, combine="stack")
    assert found.member_metrics != whole.member_metrics
    assert {round(one["validation accuracy"] * 6, 6) % 1 for one in found.member_metrics} == {0.0}  # of 6 rows


def test_stacking_may_learn_from_other_data_but_not_from_what_members_saw(run: Run, folder: Path) -> None:
    found = run.ensemble(best=2, combine="stack", data=folder / "more")
    assert found.notes == (f"Stacking learned from {folder / 'more'}.",)
    with pytest.raises(UserError, match="is what the members were trained on"):
        run.ensemble(best=2, combine="stack", data=folder / "train")


def test_settings_of_a_cross_validation_are_averages_of_their_folds(folded: Run, folder: Path) -> None:
    found = folded.ensemble(best=2)
    assert sorted(one.number for one in found.members) == [1, 2, 3, 4]
    assert found.metrics == {}
    assert "so the ensemble is not evaluated" in found.text()
    x, _ = drawn(5, 9)
    each = [folded.configuration(number).predict(x).probabilities for number in (1, 2, 3, 4)]
    assert np.allclose(found.predict(x).probabilities, np.mean(each, axis=0), atol=1e-6)
    stacked = folded.ensemble(best=2, combine="stack")
    assert "what each model says of the fold that it was not trained on" in stacked.text()
    assert stacked.evaluate(folder / "valid").keys() == {"loss", "accuracy"}


@KERAS_COPIES
def test_a_saved_one_has_a_card_and_gives_the_same(run: Run, tmp_path: Path) -> None:
    import keras

    found = run.ensemble(best=2, combine="logits")
    found.save(tmp_path / "all.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.card.json", "all.keras"]
    card = read_card(tmp_path / "all.keras")
    assert card is not None
    assert (card.normalize, card.gives, card.outputs[0].classes) == (255.0, {"y": "probabilities"}, tuple(NAMES))
    assert card.losses == {"y": "categorical_crossentropy"}
    assert card.metrics == {"y": ("accuracy",)}
    x, _ = drawn(5, 9)
    loaded = keras.models.load_model(tmp_path / "all.keras")
    assert np.allclose(loaded(x / np.float32(255)), found.predict(x).probabilities, atol=1e-6)
    json.loads((tmp_path / "all.card.json").read_text())


def test_the_best_setting_alone_is_the_average_of_its_folds(folded: Run) -> None:
    found = folded.ensemble(best=1)
    assert found.text().startswith("the best setting of folded by validation accuracy, the average of its 2 folds: ")
    x, _ = drawn(5, 9)
    each = [one.predict(x).probabilities for one in found.members]
    assert np.allclose(found.predict(x).probabilities, np.mean(each, axis=0), atol=1e-6)


def test_models_of_several_runs_need_the_same_data(run: Run, folded: Run, folder: Path) -> None:
    other = open_run(folder / "runs" / "other")
    with pytest.raises(
        DataError, match=r"cannot be in one ensemble: .* outputs and classes \(y \[setosa, .* y \[a, b, c\]"
    ):
        ensemble([run.best(), other.configuration(1)])
    found = ensemble([run.configuration(1), folded.configuration(1)])
    assert "iris/1" in found.text()
    assert "folded/1" in found.text()
    assert found.metrics.keys() == {"validation accuracy", "validation loss"}


def test_configurations_that_are_named_are_joined(run: Run) -> None:
    one, other = good(run)
    found = ensemble_of(run, [one, 2, other])
    assert isinstance(found, Ensemble)
    assert [member.number for member in found.members] == [one, other]
    assert "iris/2 failed, so it is left out: " in found.notes[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"best": 1}, "needs at least two members, and there is 1"),
        ({"best": 0}, "best is 0"),
        ({"configurations": [1, 2]}, "there is 1. iris/2 failed"),
        ({"configurations": [1, 1]}, "iris/1 is in the ensemble twice"),
        ({"configurations": [1, 9]}, "has no configuration 9"),
        ({"best": 2, "configurations": [1, 3]}, "`best` and `configurations` were given"),
        ({"best": 2, "combine": "avarage"}, "is no way to combine: .* Did you mean `average`"),
        ({"best": 2, "weights": [1]}, "1 weights were given for 2 members"),
        ({"best": 2, "weights": [1, 0]}, "each must be a number above 0"),
        ({"best": 2, "weights": "loss"}, "are no weights"),
        ({"best": 2, "combine": "stack", "weights": [1, 2]}, "stacking finds the weights itself"),
        ({"best": 2, "holdout": 0.5}, "`average` learns nothing"),
        ({"best": 2, "combine": "stack", "holdout": 2}, "holdout is 2"),
        ({"snapshots": 1}, "snapshots is 1"),
        ({"best": 2, "metric": "recall"}, "`recall` is not a recorded metric"),
    ],
)
def test_a_mistake_has_one_clear_message(run: Run, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run.ensemble(**given)


def test_stacking_needs_rows_that_nobody_was_trained_on(folder: Path, folded: Run) -> None:
    with pytest.raises(UserError, match="folded has no validation data: give a packed data set"):
        folded.ensemble(configurations=[1, 3], combine="stack")
    with pytest.raises(UserError, match="leave `holdout` out"):
        folded.ensemble(best=2, combine="stack", holdout=0.5)


def test_an_iteration_that_is_not_kept_is_told(run: Run) -> None:
    with pytest.raises(UserError, match=r"has no checkpoint of iteration 7: there are those of 1, 2"):
        run.best().at(7)


def test_models_are_named_as_people_write_them() -> None:
    assert read_reference("iris") == ("iris", None, None)
    assert read_reference("runs/iris/3") == ("runs/iris", 3, None)
    assert read_reference("s3://lab/runs/iris/3@5") == ("s3://lab/runs/iris", 3, 5)
    with pytest.raises(UserError, match="`iris@5` names no model: write iris/3, or iris/3@5"):
        read_reference("iris@5")


@KERAS_COPIES
def test_the_command_shows_it_and_saves_it(typed: Callable[..., str], tmp_path: Path) -> None:
    said = typed("iris", "--best", "2", "--combine", "vote", "--export", str(tmp_path / "e.keras"))
    assert "the best 2 of iris by validation accuracy: their vote" in said
    assert f"Saved in {tmp_path / 'e.keras'}, 2 models in one." in said
    assert (tmp_path / "e.card.json").is_file()


def test_the_command_takes_models_by_name(typed: Callable[..., str]) -> None:
    said = typed("iris/1@1", "iris/1@2", "iris/3", "--weights", "1,1,2")
    assert "1@2" in said
    assert "weighted" in said
    assert "no member" not in said
    assert "2 models" in typed("iris/1,3")
    assert "is a file, and an ensemble joins configurations" in typed("iris/1", "models.json", code=2)
    said = typed("iris/1", "--best", "2", code=2)
    assert "--best chooses among the configurations of one experiment" in said
    assert "Did you mean `average`" in typed("iris", "--combine", "avarage", code=2)
    assert "no weights" in typed("iris", "--weights", "a,b", code=2)
