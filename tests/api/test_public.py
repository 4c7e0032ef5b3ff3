"""What is public, to the last default: a change of it is a decision, not an accident."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import kestrel

RECORD = Path(__file__).with_name("public.txt")
VARIABLE = "KESTREL_RECORD"
UPDATE = f"if it is meant, {VARIABLE}=1 pytest {Path(__file__).name} records it anew; say so in the changelog"


def signature(value):
    """As Python shows it, without the modules that classes and default functions come from."""
    text = re.sub(r"(?:\b[A-Za-z_]\w*\.)+(?=\w)", "", str(inspect.signature(value)))
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)


def described():
    """A line for every public name, and for a class's public methods and properties."""
    for name in kestrel.__all__:
        value = getattr(kestrel, name)
        if not inspect.isclass(value):
            yield f"def {name}{signature(value)}"
            continue
        if issubclass(value, Exception):
            yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
            continue
        yield f"class {name}{signature(value)}"
        fields = {f.name for f in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set()
        for member, found in sorted(vars(value).items()):
            if member.startswith("_") and member != "__call__":
                continue
            if isinstance(found, property):
                yield f"    {name}.{member}"
            elif callable(found) or isinstance(found, classmethod | staticmethod):
                yield f"    {name}.{member}{signature(getattr(value, member))}"
            else:
                assert member in fields, f"{name}.{member}: neither method nor field"  # in the signature


def test_names_and_signatures_are_the_recorded_ones():
    found = "\n".join(described()) + "\n"
    if os.environ.get(VARIABLE):
        RECORD.write_text(found, encoding="utf-8")
    recorded = RECORD.read_text(encoding="utf-8")
    assert found.splitlines() == recorded.splitlines(), UPDATE


@pytest.mark.parametrize("name", kestrel.__all__)
def test_everything_public_is_documented(name):
    value = getattr(kestrel, name)
    text = " ".join((inspect.getdoc(value) or "").split())
    assert text.endswith((".", "``")), f"{name}: a docstring in sentences"
    if inspect.isfunction(value) and value.__module__.startswith("kestrel.api"):
        assert "Raises InputError" in text, f"{name}: which errors?"
        for parameter in inspect.signature(value).parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name})"


def test_what_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'kestrel' has no attribute 'kestel'"):
        _ = kestrel.kestel  # type: ignore[attr-defined]
    assert set(kestrel.__all__) <= set(dir(kestrel))


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys, kestrel, kestrel.hw.spec\nkestrel.InputError, kestrel.EngineConfig\n"
        "print([m for m in ('torch', 'numpy', 'amaranth', 'cocotb') if m in sys.modules])\n"
        "kestrel.load_network\nprint('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert done.stdout == "[]\nTrue\n"


def test_the_package_says_that_it_is_typed():
    assert (resources.files("kestrel") / "py.typed").is_file()
