"""``python -m kestrel.verif.mutants.probe BLOCK ...``: prints what the Verilog of each block is in a few
configurations, as JSON: a hash of its text, or the error that making it raised; and where the
hardware lies."""

import hashlib
import json
import sys
import warnings
from pathlib import Path

import kestrel.hw
from kestrel.hw.emit.verilog import verilog_files
from kestrel.verif.blocks.support.run import block_config, block_maker

CONFIGS = (
    block_config(1, 1, 4, max_width=8),
    block_config(2, 4, 8, 2),
    block_config(3, 3, 5, mask_bits_max=3, row_groups=True, max_width=5),
    block_config(6, 3, 8, 2, row_groups=True, residual=True, batch=True),
    block_config(2, 2, 5, residual=True, scalar_tables=True, max_width=3),
)


def probe(blocks: list[str]) -> dict[str, str]:
    """By block and number of the configuration."""
    found: dict[str, str] = {}
    for block in blocks:
        for n, config in enumerate(CONFIGS):
            try:
                files = verilog_files(block_maker(block)(config))
            except Exception as error:  # noqa: BLE001  # whatever a mutant raises is its outcome
                found[f"{block} {n}"] = f"error {type(error).__name__}"
            else:
                text = "".join(file.text for file in files)
                found[f"{block} {n}"] = hashlib.sha256(text.encode()).hexdigest()
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    hardware = {"hardware": str(Path(kestrel.hw.__file__).parent)}
    print(json.dumps(hardware | probe(sys.argv[1:])))
