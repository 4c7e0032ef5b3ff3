"""The network that is part of the package: small, trained, integers only. ``network.md`` in the same folder
says which data it was trained on, how, and how well it retrieves; docs/embedded-network.md says how to make
another."""

from pathlib import Path

EMBEDDED = "embedded"
"""The name of this network, accepted wherever a network file may be given."""

FOLDER = Path(__file__).parent
NETWORK_PATH = FOLDER / "network.safetensors"
TEXT_PATH = FOLDER / "network.md"
