"""The prediction that is shown before a cluster run: how long each shape takes, and which one is best.

What lives here: the simulated engine (a clock and an event heap), the work it is given, and a forecast per shape. What
never happens here: training, reading a clock or a disk, or a change of any result.
"""

from __future__ import annotations

from modelhopper_scheduler.forecast.shapes import Forecast, Times, choose, forecasts
from modelhopper_scheduler.forecast.workload import Workload, hop_seconds

__all__ = ["Forecast", "Times", "Workload", "choose", "forecasts", "hop_seconds"]
