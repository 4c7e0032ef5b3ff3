import multiprocessing
import shutil
import struct
from pathlib import Path

import pytest

from kestrel.hw.spec.errors import InputError
from kestrel.verif.build import cxx
from kestrel.verif.build.verilator import (
    BenchFailed,
    BuildError,
    build_cocotb,
    build_native,
    lint,
    run_cocotb,
)

HERE = Path(__file__).parent
SKID = HERE / "skid.v"


def run_skid(workdir, **env):
    build = build_cocotb([SKID], "skid")
    return run_cocotb(build, "skid", "bench_skid", workdir, env, seed=7, python_path=[HERE], timeout=60)


@pytest.fixture
def private_cache(tmp_path, monkeypatch):
    """A cache of this test's own that shares the compiled runtime, which takes long to build."""
    build_cocotb([SKID], "skid")
    shared = cxx.cached("probe", [], lambda folder: None).path.parent
    folder = tmp_path / "cache"
    folder.mkdir()
    for entry in shared.iterdir():
        if entry.name.startswith(("headers-", "runtime-", "trace-")):
            (folder / entry.name).symlink_to(entry)
    monkeypatch.setenv("KESTREL_CACHE", str(folder))
    return folder


def test_a_good_bench_passes_and_its_results_are_read(tmp_path):
    results = run_skid(tmp_path)
    assert results.ran == ("items_pass_in_order",)
    assert results.failed == ()
    assert "items_pass_in_order" in results.log


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("silent", "nothing was compared"),
        ("wrong", "o: item 199 is"),
        ("lost", "1 items missing after 100 cycles"),
    ],
)
def test_a_failing_bench_fails_and_shows_its_log_and_seed(tmp_path, what, message):
    with pytest.raises(BenchFailed, match="failed: items_pass_in_order") as failure:
        run_skid(tmp_path, KESTREL_BREAK=what)
    assert message in str(failure.value)
    assert "KESTREL_SEED=7" in str(failure.value)


def test_a_run_without_tests_fails(tmp_path):
    with pytest.raises(BenchFailed, match="no test ran"):
        run_skid(tmp_path, COCOTB_TEST_FILTER="no_such_test")


def test_a_bench_that_cannot_be_imported_fails(tmp_path):
    build = build_cocotb([SKID], "skid")
    with pytest.raises(BenchFailed, match="no_such_module"):
        run_cocotb(build, "skid", "no_such_module", tmp_path, timeout=60)


def test_results_of_an_earlier_run_do_not_count(tmp_path):
    run_skid(tmp_path)
    with pytest.raises(BenchFailed):
        run_skid(tmp_path, COCOTB_TEST_MODULES="no_such_module")


def test_a_hanging_simulation_is_stopped(tmp_path):
    (tmp_path / "bench_hang.py").write_text(
        "import time\nimport cocotb\n\n@cocotb.test()\nasync def hang(dut):\n    time.sleep(60)\n"
    )
    build = build_cocotb([SKID], "skid")
    with pytest.raises(BenchFailed, match="did not end within 3 s"):
        run_cocotb(build, "skid", "bench_hang", tmp_path, python_path=[tmp_path], timeout=3)


def test_what_has_no_initial_value_starts_at_random_by_the_seed(tmp_path):
    (tmp_path / "bench_start.py").write_text(
        "import cocotb\nfrom cocotb.triggers import Timer\n\n@cocotb.test()\nasync def start(dut):\n"
        "    await Timer(1, unit='ns')\n    print('payload', int(dut.o__payload.value))\n"
    )
    build = build_cocotb([SKID], "skid")

    def payload(seed):
        results = run_cocotb(build, "skid", "bench_start", tmp_path, seed=seed, python_path=[tmp_path])
        return next(line for line in results.log.splitlines() if line.startswith("payload"))

    assert payload(1) == payload(1)
    assert len({payload(seed) for seed in range(1, 6)}) > 1


def test_the_second_build_comes_from_the_cache_and_a_changed_source_does_not(tmp_path, private_cache):
    source = tmp_path / "skid.v"
    shutil.copy(SKID, source)
    first = build_cocotb([source], "skid")
    assert not first.hit
    assert build_cocotb([source], "skid").hit
    assert not build_cocotb([source], "skid", optimise=0).hit
    source.write_text(SKID.read_text().replace("1'b0", "1'b1"))
    changed = build_cocotb([source], "skid")
    assert not changed.hit
    assert changed.binary != first.binary


def build_in_process(queue):
    build = build_cocotb([SKID], "skid")
    queue.put((build.hit, str(build.binary)))


def test_concurrent_builds_of_one_model_build_it_once(private_cache):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=build_in_process, args=(queue,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    answers = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(hit for hit, _ in answers) == [False, True, True, True]
    assert len({binary for _, binary in answers}) == 1
    assert not [entry for entry in private_cache.iterdir() if entry.name.startswith(".work")]


def test_a_failed_build_leaves_nothing_and_shows_the_complaint(tmp_path, private_cache):
    source = tmp_path / "bad.v"
    source.write_text("module bad(input clk); assign nothing_here = ; endmodule\n")
    before = {entry.name for entry in private_cache.iterdir()}
    with pytest.raises(BuildError, match="syntax error"):
        build_cocotb([source], "bad")
    left = {entry.name for entry in private_cache.iterdir() if not entry.name.endswith(".lock")}
    assert left == before


def test_a_missing_compiler_is_said_plainly(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    cxx.find_compiler.cache_clear()
    try:
        with pytest.raises(InputError, match=r"no-such-compiler is missing; install g\+\+"):
            build_cocotb([SKID], "skid")
    finally:
        cxx.find_compiler.cache_clear()


def test_a_missing_source_is_said_plainly(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.v cannot be read"):
        build_cocotb([tmp_path / "nowhere.v"], "skid")


@pytest.mark.parametrize("trace", [False, True])
def test_a_native_model_runs_and_writes_waves_when_built_with_them(tmp_path, trace):
    build = build_native([SKID], "skid", HERE / "harness_skid.cpp", trace=trace, optimise=1)
    waves = tmp_path / "skid.fst"
    printed = cxx.run_tool([build.binary, waves])
    assert printed == "".join(f"{value}\n" for value in range(0, 100, 10))
    assert waves.is_file() == trace
    if trace:
        assert waves.stat().st_size > 500
        start, end, exponent = fst_times(waves)
        assert exponent == -12, "time counts picoseconds"
        # Ten values leave in cycles 3, 6, ..., 30; the last change is the rising edge of cycle 30.
        assert (start, end) == (0, 30 * 10 + 5)


def fst_times(path):
    """First and last time of an FST file, and the power of ten that its time unit is of a second.

    A file begins with a header block: type 0, length, times, an endianness test, six counts, the unit.
    """
    header = path.read_bytes()[:74]
    assert header[0] == 0
    start, end = struct.unpack(">QQ", header[9:25])
    return start, end, struct.unpack(">b", header[73:74])[0]


def test_a_large_design_is_compiled_in_parts(tmp_path, private_cache, monkeypatch):
    monkeypatch.setattr(cxx, "UNIT_BYTES", 0)
    build = build_native([SKID], "skid", HERE / "harness_skid.cpp", optimise=2)
    assert cxx.run_tool([build.binary, tmp_path / "none"]).startswith("0\n10\n20\n")


def test_lint_passes_clean_verilog_and_names_each_warning(tmp_path):
    lint([SKID], "skid")
    source = tmp_path / "narrow.v"
    source.write_text("module narrow(input [7:0] a, output [3:0] b);\n  assign b = a;\nendmodule\n")
    with pytest.raises(BuildError, match="WIDTHTRUNC"):
        lint([source], "narrow")
    waivers = tmp_path / "waivers.vlt"
    waivers.write_text("`verilator_config\nlint_off -rule WIDTHTRUNC\nlint_off -rule UNUSEDSIGNAL\n")
    lint([source], "narrow", waivers)
