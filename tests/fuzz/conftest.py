"""How many examples are tried: 50 of each kind, or ``FER_FUZZ_EXAMPLES``; of slow kinds ``FER_FUZZ_SLOW``.

Fifty are the same ones in every run; more are new ones each time.
"""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FER_FUZZ_EXAMPLES", "50"))
SLOW = int(os.environ.get("FER_FUZZ_SLOW", str(min(EXAMPLES, max(20, EXAMPLES // 20)))))
"""Of what takes a second: the command line and checkpoints."""

for _name, _num in (("fuzz", EXAMPLES), ("slow-fuzz", SLOW)):
    settings.register_profile(
        _name,
        max_examples=_num,
        derandomize=EXAMPLES <= 50,
        database=None,
        deadline=None,
        suppress_health_check=[*HealthCheck],  # fixtures of each test, and files for each example
    )
settings.load_profile("fuzz")
