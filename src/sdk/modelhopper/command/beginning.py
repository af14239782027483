"""`init` and `schema`: what one begins with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from modelhopper_contract.errors import ConflictError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init")(init)
    app.command("schema")(schema)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where; by default here.", show_default=False)
    ] = Path(),
    *,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Also write cluster.yaml, which says where to run on a cluster.")
    ] = False,
) -> None:
    """Write an experiment to begin with: experiment.yaml and models.py."""
    from modelhopper.command.templates import CLUSTER, EXPERIMENT, MODELS

    files = {
        folder / "experiment.yaml": EXPERIMENT.format(name=_name(folder)),
        folder / "models.py": MODELS,
        **({folder / "cluster.yaml": CLUSTER} if cluster else {}),
    }
    for path in files:
        if path.exists():
            raise ConflictError(f"{path} exists already, and nothing was written. Give another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    *others, last = map(str, files)
    typer.echo(f"Wrote {', '.join(others)} and {last}.")
    data = folder / "data"
    typer.echo("Next, with your own data:")
    typer.echo(f"  modelhopper pack train.csv --labels species --shards 4 --out {data / 'train'}")
    typer.echo(f"  modelhopper pack valid.csv --against {data / 'train'} --shards 1 --out {data / 'validation'}")
    typer.echo(f"  modelhopper run {folder / 'experiment.yaml'}")
    if cluster:
        typer.echo("Or on a cluster, with the data in its store:")
        for split in ("train", "validation"):
            typer.echo(
                f"  modelhopper copy {data / split} s3://BUCKET/{split}    # then give that address as data.{split}"
            )
        typer.echo(f"  modelhopper submit {folder / 'experiment.yaml'} --cluster {folder / 'cluster.yaml'}")


def schema(
    *,
    cluster: Annotated[bool, typer.Option("--cluster", help="That of the cluster's file instead.")] = False,
) -> None:
    """Print the JSON schema of the experiment file, for editors.

    In the first line of a file: # yaml-language-server: $schema=experiment.schema.json
    """
    from modelhopper.command.schema import cluster_schema, experiment_schema

    typer.echo(json.dumps(cluster_schema() if cluster else experiment_schema(), indent=2))


def _name(folder: Path) -> str:
    """Return the folder's name as an experiment's."""
    found = re.sub(r"[^a-z0-9]+", "-", folder.absolute().resolve().name.lower()).strip("-")[:60].strip("-")
    return found or "experiment"
