"""A class in a user's own file is a search like any other, and what is wrong with it is said in one message."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from modelhopper_contract.decisions import Arrival, GoOn, Start, Stop
from modelhopper_contract.errors import SpecError
from modelhopper_contract.metrics import Metric
from modelhopper_contract.records import Origin
from modelhopper_contract.searches import Custom
from modelhopper_scheduler.searches.checking import Checked
from modelhopper_scheduler.searches.custom import load_search
from modelhopper_scheduler.searches.search import Past, Search, Setting, next_turn
from tests.project import tree
from tests.search_contract import SearchContract

LOSS = Metric("validation", "loss", True)
EXAMPLE = tree.ROOT / "examples/search"
GOOD = """
from modelhopper_contract.decisions import Start, Stop

class Two:
    rungs = [1]

    def __init__(self, setting, size=4, *, more=None):
        self.setting, self.size = setting, size

    def start(self, past):
        if not past.trials:
            for number in (1, 2):
                yield Start(configuration=number, choice={"batch_size": self.size * number}, until=1, reason="first")

    def judge(self, past):
        return [Stop(configuration=trial.number, reason="enough") for trial in past.waiting]
"""


class TestTheExample(SearchContract):
    is_synchronous = True
    somebody_finishes = False  # whoever no longer improves is stopped, and that can be all of them
    examples = 10

    def setting(self) -> Setting:
        space = {"optimizer": [{"name": "SGD", "learning_rate": {"log": [0.001, 0.1]}}], "batch_size": [4, 8]}
        part = Custom.model_validate({"method": "searches.py:Improving", "space": space, "every": 2})
        return Setting(part, iterations=7, seed=1, shards=4)

    def search(self) -> Search:
        setting = self.setting()
        return load_search(setting.part, setting, EXAMPLE)  # type: ignore[arg-type]


def test_a_class_is_made_with_the_setting_and_its_options(tmp_path: Path) -> None:
    search = loaded(tmp_path, GOOD, "Two", size=16)
    turn = next_turn(search, Past(LOSS, 4), 0, None)
    assert [(start.configuration, start.choice) for start in turn.starts] == [
        (1, {"batch_size": 16}),
        (2, {"batch_size": 32}),
    ]
    assert list(search.rungs) == [1]


def test_what_the_user_changed_is_loaded(tmp_path: Path) -> None:
    loaded(tmp_path, GOOD, "Two")
    assert list(loaded(tmp_path, GOOD.replace("[1]", "[1, 2, 3]"), "Two").rungs) == [1, 2, 3]


def test_two_files_import_each_their_own_neighbour_even_while_they_are_asked(tmp_path: Path) -> None:
    text = GOOD.replace("class Two", "import beside\n\nclass Two").replace(
        "        return [Stop", "        import later\n        return [Stop"
    )
    text = text.replace('reason="first"', "reason=beside.REASON").replace('"enough"', "later.REASON")
    searches = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "beside.py").write_text(f"REASON = 'start of {name}'")
        (folder / "later.py").write_text(f"REASON = 'end of {name}'")
        searches.append(loaded(folder, text, "Two"))
    before = (list(sys.path), set(sys.modules))
    past = Past(LOSS, 4)
    for search, name in [*zip(searches, ("one", "other"), strict=True)] * 2:
        first = next_turn(search, past, 0, None)
        assert first.starts[0].reason == f"start of {name}"
        arrival = Arrival(configuration=1, iteration=1, value=1.0)
        [stop] = next_turn(search, past.decided(first.decisions), 1, arrival).decisions
        assert stop.reason == f"end of {name}"
    assert (sys.path, set(sys.modules)) == before


def test_a_search_needs_no_tensorflow() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from tests.scheduler.test_custom import TestTheExample\n"
        "assert TestTheExample().search().rungs == [2, 4, 6]\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tree.ROOT, check=True)


@pytest.mark.parametrize(
    ("method", "text", "options", "message"),
    [
        ("serches.py:Two", GOOD, {}, "Did you mean `searches.py`?"),
        ("searches.py:To", GOOD, {}, "it has Two. Did you mean `Two`?"),
        ("searches.py:Two", "Two = 3", {}, "is an object of type int"),
        ("searches.py:Two", "class Two:\n    def __init__(self): ...", {}, "takes no Setting"),
        ("searches.py:Two", "class Two:\n    def __init__(self, setting): ...", {}, "`rungs` and `start` and `judge`"),
        ("searches.py:Two", GOOD, {"sise": 3}, "it takes size, more. Did you mean `size`?"),
        ("searches.py:Two", "class Two:\n    def __init__(self, size): ...", {"size": 3}, "gets the Setting"),
        ("searches.py:Two", GOOD.replace("size=4", "size"), {}, "needs the option `size`"),
        ("searches.py:Two", GOOD.replace("self.setting, ", "1 / 0; self.setting, "), {}, "ZeroDivisionError"),
        (
            "searches.py:Two",
            "import nothing_like_this",
            {},
            "No module named 'nothing_like_this' (searches.py, line 1)",
        ),
        ("searches.py:Two", "class Two(:", {}, "SyntaxError"),
    ],
)
def test_what_is_no_search_is_refused_with_one_message(
    tmp_path: Path, method: str, text: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        loaded(tmp_path, text, method=method, **options)
    assert message in str(caught.value)


def test_a_file_that_imports_tensorflow_is_told_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(SpecError, match="keep models in another file"):
        loaded(tmp_path, "import tensorflow", "Two")


def test_an_error_of_the_users_names_the_question_and_the_line(tmp_path: Path) -> None:
    search = loaded(tmp_path, GOOD.replace("if not past.trials:", "if past.trails:"), "Two")
    with pytest.raises(SpecError, match=r"failed in `start`: AttributeError: .*\(searches\.py, line 11\)"):
        search.start(Past(LOSS, 4))


def start(number: int = 3, choice: Any = None, until: int = 1, **more: Any) -> Start:
    chosen = {"batch_size": 4} if choice is None else choice
    return Start(configuration=number, choice=chosen, until=until, reason="tried", **more)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "give a list"),
        ("all", "give a list"),
        ([3], "gave 3 as `start`: each item is a Start"),
        ([start(4)], "next is 3"),
        ([start(3), start(3)], "next is 4"),
        ([start(until=2)], "rungs` or the last iteration: 1, 3, 4"),
        ([start(choice={"batchsize": 4})], "Did you mean `batch_size`?"),
        ([start(choice={"batch_size": {4}})], "written down as JSON"),
        ([start(memo={"seen": float("nan")})], "written down as JSON"),
        ([start(origin=Origin(experiment="earlier", configuration=1, hop=2))], "of its own experiment"),
        ([start(origin=Origin(configuration=7, hop=2))], "one of the 2 that were started before"),
        ([start(origin=Origin(configuration=1, hop=3))], "it arrived at 2"),
        ([start(origin=Origin(configuration=2, hop=2))], "it has not arrived anywhere"),
        ([start(origin=Origin(configuration=1, hop=2))], "last iteration: 3, 4"),
    ],
)
def test_a_wrong_start_is_told_with_what_is_allowed(answer: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Checked(Answering(answer), "`file.py:Mine`", shards=2).start(one_waits())
    assert str(caught.value).startswith("`file.py:Mine` gave ")
    assert message in str(caught.value)


def test_a_right_start_passes() -> None:
    right = [start(), start(4, until=4), start(5, until=3, origin=Origin(configuration=1, hop=2))]
    assert Checked(Answering(right), "it", shards=2).start(one_waits()) == right


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (7, "give a list"),
        ([start()], "a GoOn or a Stop"),
        ([Stop(configuration=2, reason="")], "a Stop for configuration 2 (training) as `judge`: 1 can be judged"),
        ([Stop(configuration=9, reason="")], "a Stop for configuration 9 (unknown)"),
        ([Stop(configuration=1, reason=""), GoOn(configuration=1, until=3, reason="")], "nobody can be judged"),
        ([GoOn(configuration=1, until=1, reason="")], "last iteration: 3, 4"),
        ([GoOn(configuration=1, until=5, reason="")], "last iteration: 3, 4"),
    ],
)
def test_a_wrong_verdict_is_told_with_what_is_allowed(answer: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        Checked(Answering(answer), "`file.py:Mine`", shards=2).judge(one_waits())
    assert message in str(caught.value)


@pytest.mark.parametrize("rungs", [3, [0, 1], [2, 1], [1, 1], [1.5], ["1"], [True]])
def test_wrong_rungs_are_told_when_the_search_is_made(rungs: Any) -> None:
    search = Answering([])
    search.rungs = rungs
    with pytest.raises(SpecError, match="as `rungs`"):
        Checked(search, "it", shards=2)


class Answering:
    """A search that answers what it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.rungs: Any = [1, 3]

    def start(self, past: Past) -> Any:
        return self.answer

    def judge(self, past: Past) -> Any:
        return self.answer


def one_waits() -> Past:
    past = Past(LOSS, 4).decided([start(1), start(2)])
    return past.arrived(Arrival(configuration=1, iteration=1, value=0.5))


def loaded(folder: Path, text: str, name: str = "Two", method: str | None = None, **options: Any) -> Search:
    (folder / "searches.py").write_text(dedent(text))
    shutil.rmtree(folder / "__pycache__", ignore_errors=True)  # a file changed within the same second
    part = Custom(method=method or f"searches.py:{name}", **options)
    return load_search(part, Setting(part, iterations=4, seed=0, shards=4), folder)
