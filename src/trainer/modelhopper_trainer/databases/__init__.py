"""Databases: tables and queries of PostgreSQL and Greenplum, read as Arrow batches from one snapshot, and written.

What lives here: the addresses of tables, sessions, reading one state of a table with several readers, writing a table
of results, and what a server's errors mean to a user. What never happens here: importing TensorFlow or Keras, changing
anything but a table of results, showing a password, or holding a table in memory. The driver is imported with the
first connection.
"""

from __future__ import annotations

from modelhopper_trainer.databases.addresses import is_table
from modelhopper_trainer.databases.reading import open_table, read
from modelhopper_trainer.databases.writing import refuse_existing, write

__all__ = ["is_table", "open_table", "read", "refuse_existing", "write"]
