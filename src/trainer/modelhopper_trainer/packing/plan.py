"""All that is decided before a row is written, and the manifest of what was written then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelhopper_contract.manifest import MANIFEST_NAME, Input, Manifest, Output, Shard
from modelhopper_trainer.packing.columns import Array, Source
from modelhopper_trainer.packing.dealing import Division, Wish, divide, parts_of
from modelhopper_trainer.packing.fields import (
    Field,
    changed,
    id_field,
    input_field,
    manifest_input,
    manifest_output,
    output_field,
    part_field,
    read_fields,
)
from modelhopper_trainer.packing.ids import IdCode
from modelhopper_trainer.packing.labels import Classes
from modelhopper_trainer.packing.outputs import Kinds, Widths, class_rows, classes_of
from modelhopper_trainer.packing.oversampling import Oversampling, Shards, make_up
from modelhopper_trainer.packing.scatter import Deal, scatter
from modelhopper_trainer.packing.selection import Fields
from modelhopper_trainer.packing.survey import survey
from modelhopper_trainer.packing.training import Training


@dataclass(frozen=True)
class Request:
    """What the user asked for, as far as it can be understood before the rows are read."""

    source: Source
    chosen: Fields
    kinds: Kinds
    widths: Widths
    id_column: str | None
    wish: Wish
    oversampling: Oversampling | None
    normalize: float
    seed: int
    training: Training | None


@dataclass(frozen=True)
class Plan:
    """What is written, from a source that was read once."""

    request: Request
    rows: int
    class_rows: Mapping[str, Array]  # by output
    inputs: Sequence[Field]
    outputs: Sequence[Field]
    ids: IdCode | None
    parts: Classes | None  # values of the column that parts the rows
    division: Division

    @property
    def forms(self) -> tuple[tuple[Input, ...], tuple[Output, ...]]:
        """What the manifest says of inputs and outputs."""
        inputs = tuple(manifest_input(field, self.request.source) for field in self.inputs)
        return inputs, tuple(manifest_output(field, self.request.kinds) for field in self.outputs)

    @property
    def groups(self) -> Classes | None:
        """The groups of rows with shards of their own."""
        return None if self.request.wish.group_by is None else self.parts

    def _apart(self, shards: int) -> int:
        """Return in how many parts of neighbouring shards a class may be missing altogether."""
        if self.request.wish.shard_by is not None:
            return shards
        return 1 if self.groups is None else len(self.groups.values)

    def write(self, folder: Path, batch_rows: int) -> Manifest:
        """Write shards and manifest to an empty folder; raise DataError when the source has changed, and OSError."""
        shards, more = self._scattered(folder, batch_rows), self.request.oversampling
        counts = {name: rows.copy() for name, rows in self.class_rows.items()}
        if more is not None:
            real = Shards(folder, shards, self.inputs, self.outputs[0], self._apart(len(shards)))
            shards, made = make_up(more, real, self.request.seed)
            counts[self.outputs[0].name] += made
        manifest = self._manifest(shards, counts)
        (folder / MANIFEST_NAME).write_bytes(manifest.to_json())
        return manifest

    def _scattered(self, folder: Path, batch_rows: int) -> tuple[Shard, ...]:
        source, seed, fields = self.request.source, self.request.seed, [*self.inputs, *self.outputs]
        fields += [] if self.ids is None else [id_field(self.ids)]
        column = self.request.wish.column
        fields += [] if self.parts is None or column is None else [part_field(column, self.parts)]
        division = self.division
        try:
            written = scatter(
                read_fields(source, fields, batch_rows),
                [field.layout for field in fields],
                folder,
                shards=division.shards,
                largest=division.largest,
                seed=seed,
                deal=self._deal(fields),
            )
        except OverflowError as error:
            raise changed(source) from error
        if sum(shard.rows for shard in written) != self.rows:
            raise changed(source)
        return written

    def _deal(self, fields: Sequence[Field]) -> Deal | None:
        part = None if self.parts is None else len(fields) - 1
        stratify = self.request.wish.stratify
        label = None if stratify is None else [field.name for field in fields].index(stratify)
        return self.division.deal(self.request.source, self.request.seed, part, label)

    def _manifest(self, shards: Sequence[Shard], counts: Mapping[str, Array]) -> Manifest:
        request, (inputs, outputs) = self.request, self.forms
        return Manifest(
            inputs=inputs,
            outputs=outputs,
            normalize=request.normalize,
            seed=request.seed,
            rows=sum(shard.rows for shard in shards),
            class_rows={name: tuple(rows.tolist()) for name, rows in counts.items()},
            shards=tuple(shards),
            ids=None if self.ids is None else self.ids.ids,
            stratified=request.wish.stratify,
            group_column=request.wish.group_by,
            groups=() if self.groups is None else self.groups.values,
            oversampled=None if request.oversampling is None else str(request.oversampling),
        )


def plan(request: Request, batch_rows: int) -> Plan:
    """Read the columns that must be known before, and decide; raise DataError for what cannot be packed so."""
    source, chosen, training, wish = request.source, request.chosen, request.training, request.wish
    wish.refuse_misfit(source, request.kinds, training)
    found = survey(source, chosen, request.kinds, wish, request.id_column, batch_rows)
    classes = {
        output.name: classes_of(source, output, found.labels, request.widths, training) for output in chosen.outputs
    }
    parts = None if found.parts is None else parts_of(source, wish, found.parts, training)
    division = divide(source, wish, found.counts(parts, classes), parts)
    decided = Plan(
        request=request,
        rows=found.rows,
        class_rows={name: np.array(class_rows(one, found.labels[name])) for name, one in classes.items() if one},
        inputs=[input_field(source, selection) for selection in chosen.inputs],
        outputs=[output_field(source, one, request.kinds[one.name], classes[one.name]) for one in chosen.outputs],
        ids=None if found.ids is None else found.ids.code(),
        parts=parts,
        division=division,
    )
    if training is not None:
        training.refuse_other_form(source.name, *decided.forms)
    if request.oversampling is not None:
        request.oversampling.refuse_misfit(decided.inputs, request.kinds)
    return decided
