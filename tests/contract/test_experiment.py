"""The experiment as users say it: every mistake gives one message that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from modelhopper_contract.errors import SpecError
from modelhopper_contract.experiment import Compile, Data, Experiment, Fit, Model, validated
from modelhopper_contract.searches import Explicit, Grid
from tests.scheduler.planned import experiment_value


def grid(**space: Any) -> dict[str, Any]:
    return {"search": {"method": "grid", "space": space}}


@pytest.mark.parametrize(
    ("changes", "message", "path"),
    [
        ({"iteration": 3}, "`iteration` is not a key of the experiment: use ", ("iteration",)),
        ({"iteration": 3}, "Did you mean `iterations`?", ("iteration",)),
        (
            {"data": {"train": "t", "valid": "v"}},
            "`valid` is not a key of data: use train, validation.",
            ("data", "valid"),
        ),
        ({"data": {"train": "t", "validaton": "v"}}, "Did you mean `validation`?", ("data", "validaton")),
        ({"data": {}}, "`data.train` is missing.", ("data",)),
        ({"compile": {"optimiser": "Adam"}}, "Did you mean `optimizer`?", ("compile", "optimiser")),
        ({"fit": {"batchsize": 1}}, "Did you mean `batch_size`?", ("fit", "batchsize")),
        ({"fit": {"batch_size": 0}}, "greater than 0, but 0 was given", ("fit", "batch_size")),
        ({"devices": {"knd": "cpu"}}, "Did you mean `kind`?", ("devices", "knd")),
        ({"devices": {"kind": "tpu"}}, "'auto', 'cpu' or 'gpu', but 'tpu' was given", ("devices", "kind")),
        ({"name": "My Run"}, "`My Run` is not a name: use lower-case letters, digits and `-` inside", ("name",)),
        ({"name": "-a"}, "`-a` is not a name", ("name",)),
        ({"name": "a\n"}, "is not a name", ("name",)),
        ({"name": "a" * 61}, "at most 60 characters", ("name",)),
        (
            {"models": {"a": "models.py"}},
            "`models.py` is not a model: give `file.py:function`",
            ("models", "a", "build"),
        ),
        ({"models": {"a": {"build": "a.json", "x": 1}}}, "`a.json` takes no parameters (x)", ("models", "a")),
        ({"models": {}}, "at least 1 item", ("models",)),
        (
            {"search": {"method": "gird", "space": {}}},
            "`gird` is not a search method: use grid, list, random, hyperband",
            ("search", "method"),
        ),
        ({"search": {"method": "gird", "space": {}}}, "Did you mean `grid`?", ("search", "method")),
        ({"search": {"space": {}}}, "a search needs a `method`: use grid, list, random", ("search",)),
        (
            grid(learning_rate=[1]),
            "`learning_rate` is not something that can vary: use model, optimizer",
            ("search", "space", "learning_rate"),
        ),
        (grid(bach_size=[1]), "Did you mean `batch_size`?", ("search", "space", "bach_size")),
        (grid(batch_size=[]), "`batch_size` has no values: give at least one", ("search", "space", "batch_size")),
        (
            grid(optimizer=[{}]),
            "`optimizer` has an empty dictionary among its values",
            ("search", "space", "optimizer", 0),
        ),
        ({"search": {"method": "grid", "space": [1]}}, "a space is a mapping", ("search", "space")),
        ({"search": {"method": "list", "configurations": []}}, "at least 1 item", ("search", "configurations")),
        (
            {"search": {"method": "list", "configurations": [{"modl": 1}]}},
            "Did you mean `model`?",
            ("search", "configurations", 0, "modl"),
        ),
        ({"iterations": 2, "evaluate_every": 3}, "evaluate_every is 3, and there are only 2 iterations", ()),
        ({"iterations": 0}, "greater than 0, but 0 was given", ("iterations",)),
        ({"iterations": "ten"}, "valid integer", ("iterations",)),
        ({"seed": -1}, "greater than or equal to 0, but -1 was given", ("seed",)),
        ({"seed": 2**63}, "less than", ("seed",)),
        ({"keep_checkpoints": "all"}, "'last' or 'iterations', but 'all' was given", ("keep_checkpoints",)),
    ],
)
def test_a_mistake_is_told_once_with_its_place(changes: dict[str, Any], message: str, path: tuple[str, ...]) -> None:
    with pytest.raises(SpecError) as found:
        validated(Experiment, experiment_value(**changes))
    assert message in str(found.value)
    assert "\n" not in str(found.value).replace("a\n", "")
    assert found.value.path == path


@pytest.mark.parametrize("missing", ["name", "data", "models", "search"])
def test_what_must_be_there_is_told(missing: str) -> None:
    value = experiment_value()
    del value[missing]
    with pytest.raises(SpecError, match=f"`{missing}` is missing"):
        validated(Experiment, value)


@pytest.mark.parametrize("value", [None, [], "iris", 3])
def test_something_that_is_no_mapping_is_a_mistake(value: object) -> None:
    with pytest.raises(SpecError):
        validated(Experiment, value)


def test_python_and_mapping_forms_agree() -> None:
    space = {"optimizer": [{"name": "Adam", "learning_rate": [0.1, 0.2]}], "batch_size": [4, 8]}
    in_python = Experiment(
        name="planned",
        data=Data(train="train", validation="valid"),
        models={
            "small": Model(build="models.py:mlp"),
            "deep": Model(build="models.py:mlp", parameters={"layers": 3}),
        },
        compile=Compile(loss="mse"),
        search=Grid(**space),
        iterations=3,
    )
    as_mapping = validated(Experiment, experiment_value(**grid(**space)))
    assert in_python == as_mapping
    assert in_python.model_dump_json() == as_mapping.model_dump_json()


def test_a_grid_is_the_same_by_keywords_and_by_space() -> None:
    assert Grid(batch_size=[1, 2]) == Grid(space={"batch_size": [1, 2]})


def test_a_list_is_the_same_alone_and_by_name() -> None:
    assert Explicit([{"model": "a"}]) == Explicit(configurations=[{"model": "a"}])


@pytest.mark.parametrize(
    ("key", "given", "values"),
    [
        ("batch_size", 4, [4]),
        ("batch_size", (4, 8), [4, 8]),
        ("model", "small", ["small"]),
        ("metrics", ["accuracy", "AUC"], [["accuracy", "AUC"]]),
        ("metrics", [["accuracy"], ["AUC"]], [["accuracy"], ["AUC"]]),
        ("loss_weights", [0.5, 1.0], [[0.5, 1.0]]),
    ],
)
def test_one_value_in_a_space_needs_no_list(key: str, given: object, values: list[object]) -> None:
    assert Grid(space={key: given}).space == {key: values}


def test_a_list_of_metrics_with_parameters_is_one_list() -> None:
    given = ["accuracy", {"name": "AUC", "num_thresholds": 10}]
    assert Grid(space={"metrics": given}).space == {"metrics": [given]}
    one = [{"name": "AUC", "num_thresholds": 10}]
    assert Grid(space={"metrics": one}).space == {"metrics": [one]}


def test_one_model_needs_no_name() -> None:
    made = validated(
        Experiment, experiment_value(models="models.py:mlp", search={"method": "list", "configurations": [{}]})
    )
    assert list(made.models) == ["model"]


def test_defaults_are_those_of_keras() -> None:
    assert (Fit().batch_size, Fit().epochs, Fit().shuffle, Compile().optimizer) == (32, 1, True, "rmsprop")


def test_an_experiment_survives_its_json() -> None:
    made = validated(Experiment, experiment_value(**grid(batch_size=[4, 8]), evaluate_every=2))
    assert Experiment.model_validate_json(made.model_dump_json()) == made
