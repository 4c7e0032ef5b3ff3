"""Environment variables that tell the benches of the chip what to do."""

CASE_VARIABLE = "KESTREL_CASE"
"""The network and pictures, ``kestrel.verif.cases.engine_case``."""

NETWORK_SEED_VARIABLE = "KESTREL_NETWORK_SEED"
"""Seed of these, if it is not that of the run."""

FAULT_VARIABLE = "KESTREL_FAULT"
"""Where a fault in a ROM is found: ``check`` or ``frame``."""

CAUSE_VARIABLE = "KESTREL_CAUSE"
"""The causes that ERROR must then show, names joined by commas."""

TURNS_VARIABLE = "KESTREL_TURNS"
"""Disturbances of a run of ``kestrel.verif.chip.robustness_bench``."""

COUNTS_FILE = "counts.json"
"""The file in the run's folder that says what it did and found."""
