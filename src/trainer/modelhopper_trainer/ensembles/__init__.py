"""Ensembles: several trained models joined into one Keras model.

What lives here: making the members' predictions comparable, averages and votes as a graph of Keras' own operations, and
the small regression of stacking. What never happens here: choosing members, or training them any further.
"""

from __future__ import annotations

from modelhopper_trainer.ensembles.joining import Combine, Member, own_layers
from modelhopper_trainer.ensembles.making import ensemble, learned
from modelhopper_trainer.ensembles.rows import Rows, all_rows, evaluate_rows, held_out

__all__ = ["Combine", "Member", "Rows", "all_rows", "ensemble", "evaluate_rows", "held_out", "learned", "own_layers"]
