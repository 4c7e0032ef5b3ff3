"""Every command that writes, killed, out of room, with an input that fails, and twice at once.

Each command runs on small inputs in processes that are forks of this one, is disturbed at random, and is then
given again. Nothing may be half written or lost, and the second run must end as an undisturbed one. Writes
counts by fault, a line of JSON a command; commands that are there are not tried again. Ends with exit code 1
if anything did not hold.

    .venv/bin/python bench/software_faults.py                    # some 600 kills and 200 other faults
    .venv/bin/python bench/software_faults.py --kills 4 --others 2 --commands compress,export
    mount -t tmpfs -o size=64m tmpfs disk
    .venv/bin/python bench/software_faults.py --disk disk        # fills it as well
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process with threads must not be forked

from kestrel.cli.main import COMMANDS, run
from kestrel.verif.faults.child import Disturbance, start
from kestrel.verif.faults.trial import Case, Kind, Trial

SMALL = "--size 32"
QUICK = f"--images photos --steps 4 --batch 4 {SMALL} --held-out 0 --validate-every 2"
SCENES = (
    "scenes -o photos --groups 3 --views 2 --size 40x48",
    "scenes -o more --groups 2 --views 2 --size 40x48 --seed 9",
)
WORLD = (
    f"compress random:1 --network vgg16/32:pool2 -o n.safetensors {SMALL}",
    f"whiten n.safetensors photos -o w.safetensors {SMALL}",
    f"describe n.safetensors photos -o d.npz {SMALL}",
    "index add i.index d.npz",
    f"describe n.safetensors others -o m.npz {SMALL}",
)
"""What makes the inputs; ``others`` are the pictures of ``more`` under other names."""

STUDY = """title = "Small"
[[data]]
name = "photos"
folder = "photos"
size = 48
[[networks]]
name = "squeezenet1_1"
weights = "random:1"
cuts = ["fire2"]
[[codecs]]
family = "scalar"
bits = 4
coding = ["fixed", "huffman"]
[[poolings]]
name = "nip"
"""

CASES = (
    Case("compress", f"compress random:1 --network vgg16/32:pool2 -o out.safetensors {SMALL}",
         ("out.safetensors",),
         earlier=f"compress random:2 --network vgg16/32:pool2 -o out.safetensors {SMALL}"),
    Case("retrain", f"retrain n.safetensors {QUICK} --loss triplet -o out.safetensors --log-file log.jsonl "
         "--checkpoint check.safetensors --plot curves.svg",
         ("out.safetensors", "check.safetensors", "log.jsonl", "curves.svg"),
         grows=frozenset(("log.jsonl", "check.safetensors")), share=0.3),
    Case("allocate", "allocate random:3 --calibrate photos --network vgg16/32:pool1 --bits-per-weight 4 "
         f"--trials 0 --rounds 0 --pictures 1 {SMALL} --plot out.svg", ("out.svg",), share=0.6),
    Case("export", f"export n.safetensors --config nano {SMALL} -o rom", ("rom",)),
    Case("export models", "export n.safetensors --onnx out.onnx --float out.safetensors",
         ("out.onnx", "out.safetensors")),
    Case("verilog", "verilog --config nano -o rtl", ("rtl",), share=0.4),
    Case("plan", f"plan n.safetensors --config nano {SMALL} -o out.png", ("out.png",),
         earlier="plan n.safetensors --config nano --size 48 -o out.png"),
    Case("describe", f"describe n.safetensors photos -o out.npz {SMALL}", ("out.npz",),
         earlier=f"describe n.safetensors others -o out.npz {SMALL}"),
    Case("whiten", f"whiten n.safetensors photos -o out.safetensors {SMALL}", ("out.safetensors",),
         earlier=f"whiten n.safetensors others -o out.safetensors {SMALL}"),
    Case("evaluate", f"evaluate n.safetensors --dataset photos --save out.npz --per-query out.csv {SMALL}",
         ("out.npz", "out.csv")),
    Case("index add", "index add i.index m.npz", ("i.index",), refuses_itself=True),
    Case("index remove", "index remove i.index 00000.png", ("i.index",), refuses_itself=True),
    Case("index build", "index build d.npz m.npz -o out.index", ("out.index",),
         earlier="index build d.npz -o out.index"),
    Case("index merge", "index merge i.index -o out.index", ("out.index",)),
    Case("search", "search i.index d.npz --html out.html", ("out.html",), dated=True),
    Case("report design", f"report design n.safetensors --config nano {SMALL} -o out.html",
         ("out.html",), dated=True),
    Case("report retrieval", "report retrieval --network n.safetensors --dataset photos --poolings nip "
         f"{SMALL} -o report", ("report",), grows=frozenset(("report",)), dated=True, share=0.7),
    Case("scenes", "scenes -o out --groups 2 --views 2 --size 32", ("out",)),
    Case("shapes", "shapes -o out --classes 2 --per-class 3 --size 32", ("out",)),
    Case("study", "study small.toml -o study --root .", ("study",), grows=frozenset(("study",)), share=0.15),
    Case("regress", "regress -o results --configs nano --seeds 1 --filter stack --jobs 1", ("results",),
         grows=frozenset(("results",)), share=0.15),
    Case("simulate", f"simulate n.safetensors photo.png --config nano {SMALL} --waves out.fst",
         ("out.fst", "out.gtkw", "out.sucl"), share=0.15),
)  # fmt: skip
SIMULATED = ("regress", "simulate")
"""Those that build a simulator, which takes a minute the first time."""


DISK_MAX = 1 << 30
"""Bytes of a disk that may be filled: nobody's own."""


def make_world(folder: Path, notes: Path) -> None:
    """The inputs. Raises RuntimeError for a command that fails."""
    folder.mkdir()
    (folder / "small.toml").write_text(STUDY, encoding="utf-8")
    for line in (*SCENES, *WORLD):
        if line == WORLD[0]:
            (folder / "others").mkdir()
            for path in (folder / "more").glob("*.png"):
                path.rename(folder / "others" / f"other-{path.name}")
            shutil.rmtree(folder / "more")
        ending = start(run, [str(word) for word in line.split()], folder, notes, Disturbance()).wait(300)
        if ending.code != 0:
            raise RuntimeError(f"{line}: {ending.message.strip()}")
    shutil.copyfile(min((folder / "photos").glob("*.png")), folder / "photo.png")


def import_all() -> None:
    """What the commands import, here and once."""
    for where in COMMANDS.values():
        importlib.import_module(f"kestrel.cli.{where.partition(':')[0]}")
    for name in ("torch", "onnx", "faiss", "matplotlib.pyplot", "amaranth", "safetensors.numpy"):
        importlib.import_module(name)


def try_case(case: Case, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All faults of a case, and their counts."""
    begun = time.monotonic()
    room = options.disk or folder
    trial = Trial(case, run, folder / "world", room / "room", options.seed, folder / "notes")
    kills, others = (max(1, round(n * case.share)) for n in (options.kills, options.others))
    trial.run(Kind.TIME, kills // 2)
    trial.run(Kind.CHANGE, kills - kills // 2)
    for kind in (Kind.DISK, *([Kind.FULL] if options.disk else []), Kind.READ, Kind.TWO):
        trial.run(kind, others)
    shutil.rmtree(room / "room")
    report = trial.report
    return {
        "command": case.name, "seed": options.seed, "runs": dict(report.runs), "ended": dict(report.ended),
        "temporary_files_of_killed_runs": report.leftovers, "seconds": round(time.monotonic() - begun, 1),
        "complaints": report.complaints,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Returns 0, 1 if something did not hold, 2 for input that cannot be used."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench/software_faults.jsonl"))
    parser.add_argument("--kills", type=int, default=36, help="of a quick command")
    parser.add_argument("--others", type=int, default=4, help="of a quick command, of each other kind")
    parser.add_argument("--commands", help="names, with commas; all but those with a simulator otherwise")
    parser.add_argument("--disk", type=Path, help="folder on a small disk, which is filled as well")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("KESTREL_SEED", "1")))
    options = parser.parse_args(arguments)
    names = [case.name for case in CASES]
    wanted = options.commands.split(",") if options.commands else [n for n in names if n not in SIMULATED]
    if unknown := [name for name in wanted if name not in names]:
        print(f"command {unknown[0]!r}; allowed: {', '.join(names)}", file=sys.stderr)
        return 2
    if options.disk and shutil.disk_usage(options.disk).total > DISK_MAX:
        print(f"disk {options.disk}: {shutil.disk_usage(options.disk).total:,} bytes; allowed: a file system "
              f"of its own of at most {DISK_MAX:,}", file=sys.stderr)
        return 2
    import_all()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.touch()
    done = {json.loads(line)["command"] for line in options.output.read_text(encoding="utf-8").splitlines()}
    with tempfile.TemporaryDirectory(prefix="kestrel-faults-") as folder:
        make_world(Path(folder, "world"), Path(folder, "notes"))
        for case in CASES:
            if case.name in wanted and case.name not in done:
                line = json.dumps(try_case(case, Path(folder), options))
                with options.output.open("a", encoding="utf-8") as results:
                    results.write(line + "\n")
                print(line, flush=True)
    found = [json.loads(line) for line in options.output.read_text(encoding="utf-8").splitlines()]
    total = sum((Counter(entry["runs"]) for entry in found), Counter[str]())
    complaints = [text for entry in found for text in entry["complaints"]]
    print(f"{sum(total.values())} faults, {len(complaints)} complaints: {options.output}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
