"""How OpenMP's threads wait for each other. Called before torch is imported: libgomp reads its variables when it is loaded.

libgomp's threads spin while they wait. Beside other busy processes they take the processor from the thread that they wait
for: one forward pass of the embedded model took 1,480 ms instead of 21. Threads that sleep took 25 ms there, and cost 6 to
30% of the time on an idle machine. Measured by `python -m benchmarks.threads`; docs/speed.md has the table.
"""

import os

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # a user's own value of either is left alone


def wait_asleep() -> None:
    """Let OpenMP's threads sleep while they wait, unless the user chose a policy. No effect once torch is imported."""
    if not any(variable in os.environ for variable in VARIABLES):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
