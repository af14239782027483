"""A study of Optuna that can be told a past: the same motions again, so that the sampler is where it was.

Nothing but this module imports Optuna; it is imported by the search that needs it.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from modelhopper_contract.errors import SpecError
from modelhopper_contract.nearest import did_you_mean, one_of
from modelhopper_contract.spaces import Range
from modelhopper_scheduler.searches.space import Path, filled, uniform

# What cannot be used, and what to use instead.
_UNFIT = {
    "GridSampler": "`method: grid` does the same without Optuna, and knows conditions",
    "PartialFixedSampler": "it needs another sampler as an object; fix a value by giving it alone in the space",
}
# The defaults of Optuna 5, for older ones, too: values are drawn together, and what trains counts as bad meanwhile, so
# that what is suggested beside it differs.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {"TPESampler": {"multivariate": True, "constant_liar": True}}
_REHEARSED = 12  # results; more than the ten that most samplers wait for before they do what they are for


class Study:
    """Suggests configurations one after another, and is told how they end. The first is number 1."""

    def __init__(self, sampler: BaseSampler, space: Mapping[str, Any], *, lower_is_better: bool) -> None:
        self._sampler = _Retold(sampler)
        self._space = space
        with _silence():
            self._study = optuna.create_study(
                study_name="search", sampler=self._sampler, direction="minimize" if lower_is_better else "maximize"
            )

    @property
    def is_exhausted(self) -> bool:
        """Say whether the sampler has suggested all that there is, as a brute force does."""
        return self._sampler.is_exhausted

    def ask(self, recorded: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the next configuration's choice, and the sampler's own values for it by name.

        `recorded`: these values, if it was asked before. The sampler goes through the same motions all the same, so
        that its random numbers and whatever it keeps are what they were.
        """
        self._sampler.recorded = recorded or {}
        with _silence():
            trial = self._study.ask()
            choice = filled(self._space, lambda path, options: _suggested(trial, path, options))
        return choice, dict(trial.params)

    def tell(self, number: int, value: float | None) -> None:
        """Say how a configuration ended; None is a failure."""
        with _silence():
            if value is None:
                self._study.tell(number - 1, state=TrialState.FAIL)
            else:
                self._study.tell(number - 1, value)


def make_sampler(name: str, options: Mapping[str, Any], seed: int) -> BaseSampler:
    """Return a sampler of Optuna by its class's name; raise SpecError for what there is not, or cannot be used."""
    known = _samplers()
    if name in _UNFIT:
        raise SpecError(f"`{name}` cannot be used: {_UNFIT[name]}.", ("search", "sampler"))
    if name not in known:
        raise SpecError(
            f"`{name}` is not one of Optuna's samplers: {one_of(known)}.{did_you_mean(name, known)}",
            ("search", "sampler"),
        )
    _check_options(name, options, inspect.signature(known[name]).parameters)
    with _silence(), _in_words(name):
        return known[name](**{**_DEFAULTS.get(name, {}), **options, "seed": int(uniform(seed, name) * 2**32)})


def rehearse(name: str, options: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    """Raise SpecError for what a sampler only complains about when it has results, before anything is trained.

    Some look at their options then, and some import what is not installed.
    """
    study = Study(make_sampler(name, options, seed=0), space, lower_is_better=True)
    with _in_words(name):
        for number in range(1, _REHEARSED + 1):
            if not study.is_exhausted:
                study.ask()
                study.tell(number, 1 / number)


class _Retold(BaseSampler):
    """A sampler that answers what is recorded, where something is, after it has asked the real one.

    Optuna's own way to give values, `enqueue_trial`, would not do: a sampler that is not asked draws no random number,
    so each rebuilt study would begin with the same ones, and every configuration would get the same values.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        self.recorded: Mapping[str, Any] = {}
        self.is_exhausted = False

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        values = self._sampler.sample_relative(study, trial, search_space)
        return {name: self.recorded.get(name, value) for name, value in values.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        value = self._sampler.sample_independent(study, trial, param_name, param_distribution)
        return self.recorded.get(param_name, value)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        try:
            self._sampler.after_trial(study, trial, state, values)
        except RuntimeError as error:
            # Its way to say that it knows no more; Optuna allows it only in its own loop.
            if "Study.stop" not in str(error):
                raise
            self.is_exhausted = True


def _suggested(trial: optuna.Trial, path: Path, options: Sequence[Any] | Range) -> Any:
    name = ".".join(path)
    if not isinstance(options, Range):
        return options[trial.suggest_categorical(name, range(len(options)))]
    if options.scale == "log_near_one":  # the distance from 1 is what counts
        return options.nearest(1 - trial.suggest_float(name, 1 - options.high, 1 - options.low, log=True))
    is_log = options.scale == "log"
    if options.is_integer:
        return options.nearest(trial.suggest_int(name, int(options.low), int(options.high), log=is_log))
    return options.nearest(trial.suggest_float(name, options.low, options.high, log=is_log))


def _samplers() -> dict[str, type[BaseSampler]]:
    found = {name: getattr(optuna.samplers, name) for name in optuna.samplers.__all__}
    return {
        name: one
        for name, one in found.items()
        if inspect.isclass(one)
        and issubclass(one, BaseSampler)
        and not inspect.isabstract(one)
        and "seed" in inspect.signature(one).parameters
        and name not in _UNFIT
    }


def _check_options(name: str, options: Mapping[str, Any], taken: Mapping[str, Any]) -> None:
    if "seed" in options:
        raise SpecError(
            "The sampler's seed is the experiment's: give `seed` beside `search`, and remove it from `options`.",
            ("search", "options", "seed"),
        )
    known = [key for key in taken if key != "seed"]
    for key in options:
        if key not in known:
            raise SpecError(
                f"`{key}` is not an option of Optuna's {name}: it takes {one_of(known)}.{did_you_mean(key, known)}",
                ("search", "options", key),
            )


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Say what Optuna says about wrong options, a space that a sampler cannot search, or a package that it needs."""
    try:
        yield
    except ImportError as error:
        raise SpecError(
            f"Optuna's {name} needs a package that is not installed: {error}. Install it wherever this runs, or use "
            "another sampler.",
            ("search", "sampler"),
        ) from error
    except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
        raise SpecError(
            f"Optuna's {name} cannot be used with these options and this space. It says: {error}", ("search", "options")
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Optuna logs and warns of from users, who see the decisions themselves."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
