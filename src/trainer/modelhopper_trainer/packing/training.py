"""Agreement of validation data with the training set that it is packed against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from modelhopper_contract.errors import DataError
from modelhopper_contract.manifest import ClassValue, Input, Manifest, Output
from modelhopper_contract.nearest import did_you_mean
from modelhopper_trainer.packing.columns import listed


@dataclass(frozen=True)
class Training:
    """The training set that validation data must agree with."""

    name: str  # as the user wrote it
    manifest: Manifest

    def output(self, name: str) -> Output:
        """Return an output by its name."""
        return next(output for output in self.manifest.outputs if output.name == name)

    def refuse_other_names(self, source: str, what: str, given: Sequence[str]) -> None:
        """Raise DataError when the validation data's inputs, or outputs, have other names."""
        fields: Sequence[Input | Output] = self.manifest.inputs if what == "inputs" else self.manifest.outputs
        names = [field.name for field in fields]
        if sorted(given) != sorted(names):
            raise DataError(
                f"{source}: the {what} are {listed(given) or 'none'}, but {listed(names) or 'none'} in {self.name}."
            )

    def refuse_other_normalize(self, given: float | None) -> None:
        """Raise DataError when the validation data would be scaled in another way."""
        if given is not None and given != self.manifest.normalize:
            raise DataError(
                f"normalize is {given:g}, but {self.manifest.normalize:g} in {self.name}. "
                "Leave it out: it is taken from there."
            )

    def refuse_other_width(self, output: str, given: int | None) -> None:
        """Raise DataError when an output would have another number of classes."""
        width = self.output(output).num_classes
        if given is not None and given != width:
            raise DataError(
                f"num_classes of `{output}` is {given}, but {width} in {self.name}. "
                "Leave it out: it is taken from there."
            )

    def refuse_other_groups(self, column: str) -> None:
        """Raise DataError when the training set is not parted into groups by this column."""
        mine = self.manifest.group_column
        if mine != column:
            said = "has no groups" if mine is None else f"has groups of `{mine}`"
            raise DataError(
                f"group_by is `{column}`, but {self.name} {said}: validation data has the groups of its training data."
            )

    def refuse_other_form(self, source: str, inputs: Sequence[Input], outputs: Sequence[Output]) -> None:
        """Raise DataError when an input or output is stored in another form."""
        for mine, theirs in zip(inputs, self.manifest.inputs, strict=True):
            self._refuse_other_array(source, mine, theirs)
            self._refuse_other_columns(source, mine, theirs)
        for output in outputs:
            self._refuse_other_array(source, output, self.output(output.name))

    def lacking(self, source: str, output: str, values: Sequence[tuple[ClassValue, int]]) -> DataError:
        """Return the error for classes, with their rows, that the training set lacks."""
        return self._lacking(source, ("class", "classes"), self.output(output).classes, values)

    def lacking_groups(self, source: str, values: Sequence[tuple[ClassValue, int]]) -> DataError:
        """Return the error for groups, with their rows, that the training set lacks."""
        return self._lacking(source, ("group", "groups"), self.manifest.groups, values)

    def _lacking(
        self,
        source: str,
        nouns: tuple[str, str],
        known: Sequence[ClassValue],
        values: Sequence[tuple[ClassValue, int]],
    ) -> DataError:
        found = listed([f"{json.dumps(value, ensure_ascii=False)} ({_rows(count)})" for value, count in values], 5)
        names = [class_name(value) for value in known]
        what, verb = (nouns[0], "is") if len(values) == 1 else (nouns[1], "are")
        hint = did_you_mean(class_name(values[0][0]), names)
        return DataError(
            f"{source}: {what} {found} {verb} not among the {nouns[1]} of {self.name}: {listed(names)}.{hint}"
        )

    def _refuse_other_array(self, source: str, given: Input | Output, training: Input | Output) -> None:
        for what in ("shape", "dtype"):
            mine, theirs = getattr(given, what), getattr(training, what)
            if mine != theirs:
                raise DataError(
                    f"{source}: {what} of `{given.name}` is {mine}, but {theirs} in {self.name}. They must agree."
                )

    def _refuse_other_columns(self, source: str, given: Input, training: Input) -> None:
        if not given.columns or len(training.columns) < 2:
            return
        for number, (mine, theirs) in enumerate(zip(given.columns, training.columns, strict=True), 1):
            if mine != theirs:
                raise DataError(
                    f"{source}: column {number} of `{given.name}` is `{mine}`, but `{theirs}` in {self.name}. "
                    "Leave the features out: they are taken from there."
                )


def class_name(value: ClassValue) -> str:
    """Return a class as a user reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
