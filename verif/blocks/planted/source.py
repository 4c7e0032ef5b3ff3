"""Blocks with a fault in their Amaranth source, by which benches show that they can fail."""

import inspect
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType

from kestrel.hw.emit.verilog import verilog_files
from kestrel.hw.spec.engine_config import EngineConfig
from kestrel.verif.blocks.support.run import block_maker, run_block


@dataclass(frozen=True)
class SourceFault:
    """A change of the module in which a block is described.

    block: as in ``run_block``; old, new: a text that is there once, and what takes its place; message: what
    the bench must say, a regular expression.
    """

    block: str
    config: EngineConfig
    old: str
    new: str
    message: str


def changed_module(name: str, old: str, new: str) -> ModuleType:
    """The module ``name`` with a change of its source; the module itself stays as it is. Raises ValueError
    unless the old text is there once."""
    source = inspect.getsource(import_module(name))
    if source.count(old) != 1:
        raise ValueError(f"{name}: {source.count(old)} times {old!r}; allowed: once")
    made = ModuleType(name)
    exec(compile(source.replace(old, new), f"{name}, changed", "exec"), made.__dict__)  # noqa: S102
    return made


def run_changed(fault: SourceFault, folder: Path, seed: int) -> None:
    """Runs the bench on the block with the fault. Raises BenchFailed, as it should, and ValueError as
    ``changed_module`` does."""
    make = block_maker(fault.block)
    original = inspect.signature(make).return_annotation
    module = changed_module(original.__module__, fault.old, fault.new)
    # What makes the block takes its class from its globals.
    names = make.__globals__ | {original.__name__: vars(module)[original.__name__]}
    broken = FunctionType(inspect.unwrap(make).__code__, names)
    files = []
    for file in verilog_files(broken(fault.config)):
        files.append(folder / file.name)
        files[-1].write_text(file.text, encoding="utf-8")
    run_block(fault.block, fault.config, folder / "run", seed, files)
