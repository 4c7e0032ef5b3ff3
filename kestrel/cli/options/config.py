"""The options that choose an engine configuration, the same for every command."""

from enum import StrEnum
from typing import Annotated

import typer

from kestrel.hw.spec.configurations import config_fields, load_config
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError


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


SWITCH = {"true": True, "false": False}


def chosen_config(name: str, settings: list[str] | None) -> EngineConfig:
    """The configuration ``name`` with ``settings`` such as ``activation_bits=5``. Raises InputError."""
    config = load_config(name)
    options: dict[str, object] = {}
    for setting in settings or []:
        field, _, value = setting.partition("=")
        if field not in config_fields():
            raise InputError(
                f"--set {setting}: unknown field {field!r}; allowed: {', '.join(config_fields())}"
            )
        if isinstance(getattr(config, field), bool):
            if value not in SWITCH:
                raise InputError(f"--set {setting}: value {value!r}; allowed: {', '.join(SWITCH)}")
            options[field] = SWITCH[value]
            continue
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            raise InputError(f"--set {setting}: value {value!r}; allowed: a whole number") from None
        options[field] = numbers if field == "feature_words" else numbers[0] if len(numbers) == 1 else numbers
    return config.with_options(**options) if options else config
