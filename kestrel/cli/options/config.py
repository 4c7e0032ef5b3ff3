"""The options that choose an engine configuration, the same for every command."""

from enum import StrEnum
from typing import Annotated

import typer

from kestrel.hw.spec.configurations import load_config, with_settings
from kestrel.hw.spec.engine_config import EngineConfig


class Top(StrEnum):
    """What is generated or simulated."""

    ENGINE = "engine"
    CHIP = "chip"


ConfigOption = Annotated[
    str, typer.Option(help="Engine configuration: a name from `kestrel list`, or a .toml file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="Change one field of the configuration; may be repeated."
    ),
]


def chosen_config(name: str, settings: list[str] | None) -> EngineConfig:
    """The configuration ``name`` with ``settings`` such as ``activation_bits=5``. Raises InputError."""
    return with_settings(load_config(name), settings or [])
