"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modelhopper_contract.addresses import STORE_VARIABLE

Name = Annotated[str, typer.Argument(help="The experiment: its name, or a path such as runs/iris.")]
StoreUrl = Annotated[
    str, typer.Option("--store", help="Where results are: a folder, or s3://bucket/prefix.", envvar=STORE_VARIABLE)
]
ClusterFile = Annotated[
    Path | None, typer.Option("--cluster", metavar="CLUSTER.yaml", help="The cluster's file.", show_default=False)
]
