"""Runs a frame in CXXRTL, the simulator of yosys: a third one, whose reading of the Verilog is that of
synthesis.

The harness is that of Verilator (``verif/harness/engine.cpp``): a header of the name and the members that it
expects stands before the model. The ROMs' words are in the model, so it is made anew for each network.
"""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from kestrel.hw.emit.verilog import TOP
from kestrel.sw.model.compressed import CompressedNetwork
from kestrel.sw.planning.plan import Plan
from kestrel.verif.build.rtl import HARNESS, engine_sources
from kestrel.verif.build.verilator import Build
from kestrel.verif.physical.synthesis import run_yosys
from kestrel.verif.simulate.frame import FrameRun, SimulationError, run_files, write_files

_PORT = re.compile(r"^ *(input|output) +(?:wire|reg) +(?:\[(\d+):0\] )?(\w+)", re.MULTILINE)

_HEADER = """// The model as the harness of Verilator expects one.
#pragma once
#include <cstddef>
#include <cstdint>

#include "engine.cc"

template <std::size_t N> struct Wide {{
    std::uint32_t chunks[N];
    std::uint32_t& operator[](std::size_t n) {{ return chunks[n]; }}
    const std::uint32_t& operator[](std::size_t n) const {{ return chunks[n]; }}
}};

template <std::size_t N> const cxxrtl::value<N>& shown(const cxxrtl::value<N>& port) {{ return port; }}
template <std::size_t N> const cxxrtl::value<N>& shown(const cxxrtl::wire<N>& port) {{ return port.curr; }}

template <class Port, std::size_t N> void put(cxxrtl::value<N>& port, const Port& from) {{
    for (std::size_t n = 0; n < port.chunks; ++n)
        if constexpr (std::is_integral_v<Port>) port.data[n] = std::uint32_t(std::uint64_t(from) >> (32 * n));
        else port.data[n] = from[n];
}}

template <class Port, std::size_t N> void get(Port& to, const cxxrtl::value<N>& port) {{
    if constexpr (std::is_integral_v<Port>) {{
        std::uint64_t value = 0;
        for (std::size_t n = 0; n < port.chunks; ++n) value |= std::uint64_t(port.data[n]) << (32 * n);
        to = Port(value);
    }} else {{
        for (std::size_t n = 0; n < port.chunks; ++n) to[n] = port.data[n];
    }}
}}

struct VerilatedContext {{
    void commandArgs(int, char**) {{}}
}};

struct Vtop {{
{members}
    cxxrtl_design::p_{top} model;
    explicit Vtop(VerilatedContext*) {{}}
    void eval() {{
{inputs}
        model.step();
{outputs}
    }}
    void final() {{}}
}};
"""


def run_cxxrtl(network: CompressedNetwork, plan: Plan, pixels: np.ndarray, workdir: Path) -> FrameRun:
    """Like ``verif.simulate.frame.run_frame``, with registers and memories that begin with zeros. Raises
    SynthesisError, and SimulationError if the frame does not complete correctly."""
    write_files(network, plan, pixels, workdir)
    sources = engine_sources(plan.config)
    run_yosys([
        *(f"read_verilog {source.absolute()}" for source in sources), f"hierarchy -check -top {TOP}",
        "write_cxxrtl -g0 engine.cc",
    ], workdir)  # fmt: skip
    (workdir / "Vtop.h").write_text(_header(sources[-1].read_text(encoding="utf-8")), encoding="utf-8")
    spec = find_spec("pyosys")
    assert spec is not None
    assert spec.origin is not None
    runtime = Path(spec.origin).parent / "share" / "include" / "backends" / "cxxrtl" / "runtime"
    command = ["g++", "-std=c++20", "-O0", f"-I{workdir.absolute()}", f"-I{runtime}", "-DVM_TRACE_FST=0",
               "-DVM_COVERAGE=0", str(HARNESS), "-o", "engine"]  # fmt: skip
    done = subprocess.run(command, cwd=workdir, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SimulationError(f"g++ ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
    return run_files(Build(workdir / "engine", hit=False, seconds=0.0), plan, workdir)


def _header(top: str) -> str:
    """``Vtop.h`` for the text of the top module."""
    ports = [(kind == "input", int(high or 0) + 1, name) for kind, high, name in _PORT.findall(top)]
    lines: dict[str, list[str]] = {"members": [], "inputs": [], "outputs": []}
    for is_input, bits, name in ports:
        lines["members"].append(f"    {_type(bits)} {name}{{}};")
        theirs = f"model.p_{name.replace('_', '__')}"
        if is_input:
            lines["inputs"].append(f"        put({theirs}, {name});")
        else:
            lines["outputs"].append(f"        get({name}, shown({theirs}));")
    return _HEADER.format(top=TOP.replace("_", "__"), **{key: "\n".join(text) for key, text in lines.items()})


def _type(bits: int) -> str:
    """What Verilator makes of a port of so many bits."""
    for size in (8, 16, 32, 64):
        if bits <= size:
            return f"std::uint{size}_t"
    return f"Wide<{-(-bits // 32)}>"
