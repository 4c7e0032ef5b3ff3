"""The named engine configurations, and configurations from and for TOML files."""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.hw.spec.errors import InputError

NAMED: dict[str, EngineConfig] = {
    config.name: config
    for config in (
        # Small enough to simulate thousands of random frames.
        EngineConfig(
            name="nano",
            input_lanes=2,
            output_lanes=2,
            activation_bits=8,
            load_kernels=1,
            partial_depth=256,
            max_width=128,
            feature_words=(32768, 32768),
            weight_words=131072,
            table_words=4096,
            stream_bytes=1,
        ),
        # The feature memory (885 kB) holds any VGG at 224x224 depth first, the ROM VGG-16 at 3 bits a tap.
        EngineConfig(
            name="edge",
            input_lanes=16,
            output_lanes=16,
            activation_bits=8,
            load_kernels=4,
            partial_depth=1024,
            max_width=512,
            feature_words=(11264, 7168),
            weight_words=262144,
            table_words=8192,
            stream_bytes=4,
        ),
        EngineConfig(
            name="asic",
            input_lanes=32,
            output_lanes=32,
            activation_bits=8,
            load_kernels=8,
            partial_depth=1024,
            max_width=512,
            feature_words=(9216, 7168),
            weight_words=131072,
            table_words=8192,
            stream_bytes=4,
            row_groups=True,  # pays from about 32 lanes on: docs/area.md
            whitening_rows=16,  # else more than 3% of a frame
        ),
    )
}


def load_config(text: str) -> EngineConfig:
    """The configuration called ``text``, or the one in the TOML file ``text`` (a name ending in .toml).

    The file gives fields of EngineConfig at its top level; ``base`` names the configuration that supplies
    the others (default ``edge``). Raises InputError.
    """
    if not text.endswith(".toml"):
        if text not in NAMED:
            raise InputError(
                f"configuration {text!r} is not known; allowed: {', '.join(NAMED)}, or a .toml file"
            )
        return NAMED[text]
    path = Path(text)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # also for a number of too many digits
        raise InputError(f"{path}: not a TOML file ({error})") from None
    base = values.pop("base", "edge")
    if not isinstance(base, str) or base not in NAMED:
        raise InputError(f"{path}: base = {base!r}; allowed: {', '.join(NAMED)}")
    values.setdefault("name", path.stem)
    if not isinstance(values["name"], str):
        raise InputError(f"{path}: name = {values['name']!r}; allowed: a text")
    if isinstance(values.get("feature_words"), list):
        values["feature_words"] = tuple(values["feature_words"])
    try:
        return NAMED[base].with_options(**values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


_SWITCH = {"true": True, "false": False}


def with_settings(config: EngineConfig, settings: Iterable[str], option: str = "--set") -> EngineConfig:
    """``config`` with ``settings`` such as ``activation_bits=5``, which ``option`` gives. Raises
    InputError."""
    options: dict[str, object] = {}
    for setting in settings:
        field, _, value = setting.partition("=")
        where = f"{option} {setting}"
        if field not in config_fields():
            raise InputError(f"{where}: unknown field {field!r}; allowed: {', '.join(config_fields())}")
        if isinstance(getattr(config, field), bool):
            if value not in _SWITCH:
                raise InputError(f"{where}: value {value!r}; allowed: {', '.join(_SWITCH)}")
            options[field] = _SWITCH[value]
            continue
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            raise InputError(f"{where}: value {value!r}; allowed: a whole number") from None
        options[field] = numbers if field == "feature_words" else numbers[0] if len(numbers) == 1 else numbers
    return config.with_options(**options) if options else config


def config_text(config: EngineConfig) -> str:
    """The contents of a TOML file from which ``load_config`` reads ``config``, every field of it."""
    values = ((f.name, json.dumps(getattr(config, f.name), ensure_ascii=False)) for f in fields(config))
    return "".join(f"{name} = {value}\n" for name, value in values)


def config_fields() -> tuple[str, ...]:
    """The names of the fields that a file or an option may set."""
    return tuple(f.name for f in fields(EngineConfig) if f.name != "name")
