"""Stations that are started before all is checked, because TensorFlow takes longer to start than all checks."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from modelhopper_contract.errors import UserError
from modelhopper_scheduler.engines.devices import station_gpus
from modelhopper_scheduler.engines.outfit import outfits
from modelhopper_scheduler.engines.standby import Standby

if TYPE_CHECKING:
    from modelhopper_contract.experiment import Devices

_MOST = 8  # the number of configurations, which bounds that of stations, is not known yet


def stations_ahead(devices: Devices, engine: str) -> Standby:
    """Start what stations a run on this machine is likely to need; leaving the context ends those that it did not.

    A mistake is not told here: whoever makes the run ready says it in its turn.
    """
    ahead = Standby()
    if engine == "local" and importlib.util.find_spec("tensorflow") is not None:
        try:
            gpus = station_gpus(devices, _MOST)
        except UserError:
            return ahead
        ahead.start(outfits(devices, gpus))
    return ahead
