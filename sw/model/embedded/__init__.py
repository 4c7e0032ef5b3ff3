"""The network that comes along: small, trained, integers only. ``network.md`` beside it says what it learned
from, how, and how well it retrieves; docs/embedded-network.md how to make another."""

from pathlib import Path

EMBEDDED = "embedded"
"""Its name, wherever a network file may be given."""

FOLDER = Path(__file__).parent
NETWORK_PATH = FOLDER / "network.safetensors"
TEXT_PATH = FOLDER / "network.md"
