"""Setting TensorFlow up."""

from __future__ import annotations

import pytest

from modelhopper_contract.errors import UserError
from modelhopper_trainer.device import configure

pytestmark = pytest.mark.xdist_group("tensorflow")


def test_a_gpu_that_tensorflow_cannot_use_is_told_and_not_replaced_by_the_cpu() -> None:
    configure(threads=1, gpu=False, deterministic=True)  # hides GPUs, where there are any
    with pytest.raises(UserError, match="TensorFlow cannot use it: pip install 'modelhopper\\[gpu\\]'"):
        configure(threads=1, gpu=True, deterministic=True)
