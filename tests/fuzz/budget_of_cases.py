"""How many cases each fuzz test runs: a few hundred in the default tier, all that `make fuzz` asks for otherwise."""

from __future__ import annotations

import math
import os

from hypothesis import HealthCheck, settings

DEFAULT_TOTAL = 300
TOTAL = int(os.environ.get("HRKD_FUZZ_CASES", DEFAULT_TOTAL))


def share(part: float) -> settings:
    """Return the settings of a test that runs ``part`` of all cases.

    In the default tier the cases are the same every time; `make fuzz` gives a seed. Nothing is kept between runs, and
    no case is judged by its time except by the guard, which looks for hangs.
    """
    return settings(
        max_examples=max(5, math.ceil(TOTAL * part)),
        derandomize=TOTAL == DEFAULT_TOTAL,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
