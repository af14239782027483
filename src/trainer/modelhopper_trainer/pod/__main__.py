"""`python -m modelhopper_trainer.pod hop|evaluate|station` is the process in a pod that trains."""

from __future__ import annotations

import os
import sys

from modelhopper_trainer.pod.durations import process_age_s
from modelhopper_trainer.pod.process import Surroundings, main
from modelhopper_trainer.pod.termination import Termination

if __name__ == "__main__":
    ending = Termination()
    ending.listen()
    found = Surroundings(os.environ, termination=ending, age_s=process_age_s())
    exit_code = main(sys.argv[1:], found)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # everything is written, and TensorFlow's own way out takes as long as some hops
