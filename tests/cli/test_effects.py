"""No option is ignored: for every pair of options of every command, either both reach the call that does the
work, or the command refuses and says which of them has no effect.

The functions that do the work are replaced by recorders, so that nothing is computed. An option that is given
with a value of its own and changes nothing in what is recorded is ignored, whatever its declaration says.
"""

import importlib
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pytest
import typer

from kestrel.cli.main import COMMANDS, run
from kestrel.cli.rules.declared import ATTRIBUTE, COMMON, Declaration
from kestrel.cli.rules.outputs import ContinuedOutput, FileOutput, FolderOutput
from kestrel.hw.spec.errors import InputError

LOG = []
"""What the recorders of the present run were called with."""


class Stub:
    """Stands for whatever a recorder returns: it has every attribute, and records its calls."""

    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return self._name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(f"{self._name}.{name}")

    def __call__(self, *values, **named):
        LOG.append(plain((self._name, values, sorted(named.items()))))
        if self._name.endswith(".save"):
            Path(values[0]).touch()
        return Stub(f"{self._name}()")

    def __getitem__(self, key):
        if isinstance(key, int) and key > 2:
            raise IndexError(key)
        return Stub(f"{self._name}[{key!r}]")

    def __iter__(self):
        return iter([self[number] for number in range(3 if self._name == "collect_pictures()" else 2)])

    def __len__(self):
        return 2

    def __contains__(self, value):
        return False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def __truediv__(self, other):
        return Stub(f"{self._name} / {other!r}")

    __rtruediv__ = __or__ = __ror__ = __truediv__

    def __hash__(self):
        return 0

    def __eq__(self, other):
        return isinstance(other, Stub)


def plain(value):
    """A text that is the same for the same values: objects without a text of their own by their type."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


@dataclass(frozen=True)
class Case:
    """A command. module: of its function; works: names there to record; blank: those that only prepare what
    is printed; contexts: other arguments that the pairs are tried beside; values: arguments of each option,
    unlike its default; shown: also what is printed is recorded, where that is all a command does."""

    module: str
    works: str
    contexts: tuple[str, ...]
    values: dict[str, str]
    blank: str = "_payload"
    shown: bool = False


DESCRIBED = {
    "pooling": "--pooling rnip5x", "rotations": "--rotations 2", "backend": "--backend rtl",
    "weights": "--weights random:1", "size": "--size 64", "whitening": "--whitening w.safetensors",
    "crops": "--crops grid:2x2", "rois": "--rois 1+2", "moment": "--moment std", "across": "--across std",
    "region_norm": "--no-region-norm", "border": "--border 1", "fit": "--fit keep",
    "resize_filter": "--filter box", "pool_maps": "--pool-maps layer3.0",
    "backend_set": "--backend-set config=nano", "workers": "--workers 3", "strict": "--strict",
}  # fmt: skip
CODED = {"train": "--train t.npz", "threshold": "--threshold mean", "bits": "--bits 9"}
CLUSTER = {"scheduler": "--scheduler tcp://10.0.0.1:8786", "dask_workers": "--dask-workers 2",
           "worker_memory": "--worker-memory 2"}
PICTURES = {"size": "--size 64", "seed": "--seed 7"}

CASES = {
    "compress": Case(
        "networks.compress", "load_weights compress_weights save_network", blank="payload",
        contexts=("random:1 -o n.safetensors", "w.pth -o n.safetensors"),
        values=PICTURES | {
            "output": "-o other.safetensors", "network": "--network vgg11", "mask_bits": "--mask-bits 2",
            "scalar_bits": "--scalar-bits 4", "fit": "--fit paper", "fill_missing": "--fill-missing random:3",
            "activation_bits": "--activation-bits 5", "preprocessing": "--preprocessing caffe",
            "calibrate": "--calibrate photos",
            "percentile": "--percentile 99"},
    ),
    "allocate": Case(
        "networks.allocate", "load_weights choose_mask_bits plot_allocation atomic_write",
        contexts=("random:1 --calibrate photos --bytes 900", "w.pth --calibrate photos", "w.pth --cosine 0.9 "
                  "--calibrate photos", "random:1 --calibrate photos --parts q --dask-workers 3"),
        values=CLUSTER | {
            "parts": "--parts p", "calibrate": "--calibrate others", "network": "--network vgg11",
            "bits_per_weight": "--bits-per-weight 2", "size_bytes": "--bytes 800",
            "size_of": "--size-of 2", "cosine": "--cosine 0.8",
            "mask_widths": "--mask-widths 1,2", "scalar_bits": "--scalar-bits 4",
            "max_cycles": "--max-cycles 2", "fit": "--fit paper",
            "fill_missing": "--fill-missing random:3", "activation_bits": "--activation-bits 5",
            "preprocessing": "--preprocessing caffe", "pictures": "--pictures 3", "size": "--size 64",
            "percentile": "--percentile 99", "rounds": "--rounds 1", "trials": "--trials 1",
            "compare": "--compare 1", "held_out": "--held-out others", "plot": "--plot a.svg"},
    ),
    "retrain": Case(
        "networks.retrain", "train_network save_network save_weights",
        contexts=("--images p -o n.safetensors start.safetensors",
                  "--images p -o n.safetensors --network vgg11 --weights w.pth --loss distill+labels+triplet",
                  "--images p -o n.safetensors --network vgg11 --weights w.pth --float --loss labels",
                  "--images p -o n.safetensors start.safetensors --held-out 0 --loss triplet"),
        values=PICTURES | {
            "images": "--images q", "output": "-o other.safetensors", "weights": "--weights v.pth",
            "start_from": "--start float", "float_only": "--float", "shape_name": "--network vgg13",
            "mask_bits": "--mask-bits 2", "scalar_bits": "--scalar-bits 4",
            "activation_bits": "--activation-bits 5",
            "preprocessing": "--preprocessing caffe", "teacher": "--teacher t.pth",
            "teacher_network": "--teacher-network vgg16",
            "teacher_preprocessing": "--teacher-preprocessing caffe", "loss": "--loss relational",
            "feature_layers": "--feature-layers conv1_1",
            "classifier": "--classifier c.safetensors", "save_classifier": "--save-classifier d.safetensors",
            "mining": "--mining semi-hard", "margin": "--margin 0.3", "fit": "--fit paper",
            "learn_ranges": "--no-learn-ranges", "learn_scalars": "--learn-scalars", "steps": "--steps 3",
            "batch": "--batch 4", "optimiser": "--optimiser sgd", "rate": "--rate 0.1",
            "range_rate": "--range-rate 0.1", "schedule": "--schedule step", "warmup": "--warmup 2",
            "weight_decay": "--weight-decay 0.1", "gradual": "--gradual bits", "freeze": "--freeze conv1_1",
            "layout": "--layout plain", "augment": "--no-augment", "crop_area": "--crop-area 0.3 0.9",
            "held_out": "--held-out 0.3", "validation_size": "--validation-size 64",
            "validate_every": "--validate-every 9", "patience": "--patience 2",
            "precision": "--precision mixed", "device": "--device cpu", "workers": "--workers 2",
            "unreadable_share": "--unreadable-share 0.5",
            "checkpoint": "--checkpoint k.safetensors", "no_checkpoint": "--no-checkpoint",
            "log": "--log-file l.jsonl", "plot": "--plot p.svg"},
    ),
    "shapes": Case("networks.shapes", "write_shapes", ("-o s",), PICTURES | {
        "output": "-o other", "classes": "--classes 3", "per_class": "--per-class 2"}),
    "scenes": Case("retrieval.scenes", "write_scenes", ("-o s",), PICTURES | {
        "output": "-o other", "groups": "--groups 3", "views": "--views 2"}),
    "export": Case(
        "chip.export", "load_network export_network write_integers write_floats",
        contexts=("n.safetensors", "n.safetensors -o rom", "n.safetensors -o rom --descriptor d.npz"),
        values={
            "output": "-o other", "config": "--config nano", "settings": "--set activation_bits=5",
            "size": "--size 64", "batch": "--batch 2", "descriptor": "--descriptor e.npz",
            "whitening": "--whitening w.safetensors", "threshold": "--threshold mean",
            "onnx": "--onnx i.onnx", "floats": "--float f.safetensors"},
    ),
    "verilog": Case(
        "chip.verilog", "write_verilog fit_config", blank="asdict",
        contexts=("-o rtl", "-o rtl --top chip", "-o rtl --top chip --roms r", "-o rtl --fit n.safetensors",
                  "-o rtl --top chip --descriptor --fit n.safetensors --pooling nip"),
        values={
            "output": "-o other", "config": "--config nano", "settings": "--set activation_bits=5",
            "top": "--top chip", "descriptor": "--descriptor", "startup_check": "--startup-check",
            "fit": "--fit m.safetensors", "size": "--size 32", "training": "--training t.npz",
            "pooling": "--pooling rnip5x", "whitening": "--whitening w.safetensors",
            "pool_maps": "--pool-maps layer3.0",
            "prefix": "--prefix other", "roms": "--roms other", "picture": "--picture p.jpg",
            "source_lines": "--source-lines"},
    ),
    "simulate": Case(
        "chip.simulate", "load_network simulate_engine simulate_chip simulate_descriptors _quantiser Speed",
        blank="_payload chip_payload descriptor_payload",
        contexts=("n.safetensors random:1", "n.safetensors random:1 --waves w.fst",
                  "n.safetensors random:1 --top chip", "n.safetensors random:1 --top chip --pooling nip"),
        values=PICTURES | {
            "config": "--config nano", "settings": "--set activation_bits=5", "pauses": "--pauses 0.2",
            "batch": "--batch 2", "waves": "--waves v.fst", "waves_from": "--waves-from 5",
            "waves_cycles": "--waves-cycles 9",
            "clock": "--clock 100",
            "top": "--top chip", "pooling": "--pooling rnip5x", "rotations": "--rotations 2",
            "pool_maps": "--pool-maps layer3.0",
            "whitening": "--whitening w.safetensors", "codes": "--codes d.npz"},
    ),
    "plan": Case(
        "chip.plan", "plan_frame plot_plan atomic_write Speed", contexts=("vgg11", "n.safetensors"),
        values={
            "config": "--config nano", "settings": "--set activation_bits=5", "size": "--size 64",
            "batch": "--batch 2", "mask_bits": "--mask-bits 2", "pool_maps": "--pool-maps layer3.0",
            "clock": "--clock 100", "output": "-o p.svg"},
    ),
    "estimate": Case(
        "chip.estimate", "estimate_chip", blank="estimate_payload", contexts=("vgg11", "n.safetensors"),
        values={
            "config": "--config nano", "settings": "--set activation_bits=5", "size": "--size 64",
            "batch": "--batch 2", "mask_bits": "--mask-bits 2", "pool_maps": "--pool-maps layer3.0",
            "clock": "--clock 100", "device": "--device ecp5-25", "top": "--top chip", "fit": "--fit",
            "pooling": "--pooling rnip9x"},
    ),
    "regress": Case(
        "chip.regress", "_selected Store sources_hash run_cases open_runner run_in_pieces junit_xml "
        "atomic_write _folder file_kind Collector _coverage commit now",
        contexts=("--seeds 1", "--seeds 1 --list", "--seeds 1 --coverage c", "--seeds 1 --dask-workers 2"),
        values=CLUSTER | {
            "seeds": "--seeds 2..2", "jobs": "--jobs 1", "filter": "--filter nano/",
            "configs": "--configs edge", "output": "-o other", "again": "--again", "list_": "--list",
            "coverage": "--coverage d", "waivers": "--waivers w.toml"},
    ),
    "describe": Case(
        "retrieval.describe", "make_describer learn_quantiser describe_pictures encode save_descriptors "
        "remove_shards has_parts",
        contexts=("n.safetensors p -o d.npz", "n.safetensors p -o d.npz --dask-workers 2",
                  "n.safetensors p -o d.npz --backend float --weights v.pth",
                  "n.safetensors p -o d.npz --codes bits --train s.npz"),
        values=DESCRIBED | CODED | CLUSTER | {
            "output": "-o other.npz", "codes": "--codes bytes", "parts": "--parts p"},
    ),
    "whiten": Case(
        "retrieval.whiten", "make_describer fit_whitening save_whitening",
        contexts=("n.safetensors p -o w.safetensors",
                  "n.safetensors p -o w.safetensors --backend float --weights v.pth"),
        values={name: value for name, value in DESCRIBED.items() if name != "whitening"} | {
            "output": "-o other.safetensors", "dimension": "--dimension 3", "mode": "--mode after",
            "limit": "--limit 5"},
    ),
    "evaluate": Case(
        "retrieval.evaluate", "make_describer describe_benchmark load_benchmark load_descriptors "
        "learn_quantiser own_quantiser run_benchmark write_per_query read_per_query compare save_descriptors "
        "remove_shards",
        blank="as_payload asdict",
        contexts=("n.safetensors --dataset s", "--dataset s --descriptors d.npz",
                  "n.safetensors --dataset s --codes bits --train s.npz",
                  "--dataset s --descriptors d.npz --codes bits",
                  "n.safetensors --dataset s --backend float --weights v.pth",
                  "n.safetensors --dataset s --save x.npz",
                  "n.safetensors --dataset s --dask-workers 2 --save x.npz"),
        values=DESCRIBED | CODED | CLUSTER | {
            "dataset": "--dataset t", "protocol": "--protocol ukbench", "descriptors": "--descriptors e.npz",
            "parts": "--parts p",
            "codes": "--codes bytes", "asymmetric": "--asymmetric",
            "average_precision": "--average-precision plain", "save": "--save x.npz",
            "per_query": "--per-query q.csv", "compare_with": "--compare o.csv", "seed": "--seed 7"},
    ),
    "board build": Case(
        "board.build", "build_board", contexts=("n.safetensors -o b",), blank="asdict _show _by_line",
        values={
            "output": "-o other", "board": "--board other", "size": "--size 64",
            "pooling": "--pooling rnip5x",
            "lanes": "--lanes 2x4", "baud": "--baud 1000000"},
    ),
    "board simulate": Case(
        "board.simulate", "simulate_board", contexts=("n.safetensors a.png",), blank="asdict",
        values={
            "board": "--board other", "size": "--size 64", "pooling": "--pooling rnip5x",
            "lanes": "--lanes 2x4", "baud": "--baud 1000000", "noise": "--noise 0.001", "seed": "--seed 3"},
    ),
    "board describe": Case(
        "board.describe", "describe_on_board", contexts=("a.png --port tty",), blank="asdict",
        values={"port": "--port other", "baud": "--baud 1000000", "patience": "--patience 3"},
    ),
    "report design": Case(
        "report.design", "make_design report_design command_line",
        contexts=("vgg11 -o d.html", "n.safetensors -o d.html", "vgg11 -o d.html --against vgg13",
                  "n.safetensors -o d.html --against m.safetensors",
                  "n.safetensors -o d.html --descriptors d.npz --dataset s --against m.safetensors"),
        values={
            "output": "-o other.html", "config": "--config nano", "settings": "--set activation_bits=5",
            "size": "--size 64", "batch": "--batch 2", "mask_bits": "--mask-bits 2",
            "pool_maps": "--pool-maps layer3.0", "clock": "--clock 100", "device": "--device ecp5-25",
            "top": "--top chip", "fit": "--fit", "pooling": "--pooling rnip9x",
            "allocation": "--allocation a.json", "descriptors": "--descriptors e.npz",
            "dataset": "--dataset t", "protocol": "--protocol ukbench",
            "against": "--against vgg19", "against_config": "--against-config asic",
            "against_settings": "--against-set activation_bits=6", "against_size": "--against-size 32",
            "against_batch": "--against-batch 3", "against_mask_bits": "--against-mask-bits 1",
            "against_descriptors": "--against-descriptors f.npz"},
    ),
    "report retrieval": Case(
        "report.retrieval", "load_benchmark write_tables", blank="as_payload",
        contexts=("--dataset s --network n.safetensors -o r",
                  "--dataset s --network n.safetensors -o r --train t"),
        values=PICTURES | {
            "dataset": "--dataset t", "network": "--network m.safetensors", "output": "-o other",
            "weights": "--weights w.pth", "protocol": "--protocol ukbench", "train": "--train u",
            "train_images": "--train-images 5", "poolings": "--poolings nip", "rotations": "--rotations 2",
            "whitening_mode": "--whitening-mode roi", "whitening_dimension": "--whitening-dimension 3",
            "threshold": "--threshold mean", "keep_features": "--keep-features", "strict": "--strict"},
    ),
    "study": Case(
        "retrieval.study", "read_grid quick_grid claim make_data open_runner run_study write_report",
        contexts=("g.toml -o s", "quick -o s", "quick -o s --dask-workers 2"),
        values=CLUSTER | {
            "output": "-o other", "root": "--root data", "only": "--only vgg16/*", "jobs": "--jobs 2"},
    ),
    "index add": Case(
        "retrieval.index", "load_descriptors new_index add_to_index",
        contexts=("i.index d.npz", "i.index d.npz --codes bits", "i.index d.npz --structure ivf"),
        values=CODED | {"codes": "--codes bytes", "structure": "--structure hnsw"},
    ),
    "index build": Case(
        "retrieval.index", "build_index_of_files DescriptorIndex",
        contexts=("d.npz -o i.index", "d.npz -o i.index --codes bits", "d.npz -o i.index --structure ivf"),
        values=CODED | {"codes": "--codes bytes", "structure": "--structure hnsw", "output": "-o j.index",
                        "like": "--like there.index"},
    ),
    "index merge": Case("retrieval.index", "merge_indexes", ("there.index -o i.index",),
                        {"output": "-o j.index"}),
    "index remove": Case("retrieval.index", "DescriptorIndex _matching", ("there.index a.jpg",), {}),
    "index info": Case("retrieval.index", "DescriptorIndex", ("there.index",),
                       {"names": "--names", "recall": "--recall 9"},
                       shown=True),
    "search": Case(
        "retrieval.search", "DescriptorIndex load_truth query_describer describe collect_pictures "
        "search_index load_descriptors check_comparable picture_finder warn_of_missing write_page "
        "backend_like np",
        contexts=("i.index d.npz", "i.index q.jpg --network n.safetensors", "i.index d.npz --html h.html",
                  "i.index q.jpg d.npz --network n.safetensors --dataset s"),
        values={
            "network": "--network m.safetensors", "weights": "--weights w.pth",
            "whitening": "--whitening w.safetensors", "backend": "--backend float",
            "backend_set": "--backend-set config=nano", "count": "--count 3", "effort": "--effort 9",
            "html": "--html g.html", "images": "--images p", "dataset": "--dataset t",
            "protocol": "--protocol ukbench", "asymmetric": "--asymmetric"},
    ),
    "serve": Case(
        "retrieval.serve", "DescriptorIndex query_describer backend_like _facts _make_server",
        contexts=("i.index --network n.safetensors",),
        values={
            "network": "--network m.safetensors", "weights": "--weights w.pth",
            "whitening": "--whitening w.safetensors", "chip": "--no-chip", "board": "--board ttyUSB1",
            "backend_set": "--backend-set config=nano", "images": "--images .", "count": "--count 3",
            "host": "--host ::1", "port": "--port 0", "max_upload": "--max-upload 3",
            "max_megapixels": "--max-megapixels 3", "jobs": "--jobs 3"},
    ),
    "list": Case("networks.listing", "", ("",), {"network": "--network vgg11"}, "_embedded", shown=True),
}  # fmt: skip


class Runner:
    """Runs a command with recorders in place of its work, every command line once."""

    def __init__(self, command, case, monkeypatch):
        self.command, self.known = command, {}
        module = importlib.import_module(f"kestrel.cli.{case.module}")
        for name in case.works.split():
            monkeypatch.setattr(module, name, Stub(name))
        for name in case.blank.split():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, lambda *values, **named: {"failed": 0})

        def emitted(payload, human, json):  # what is printed repeats options: it proves nothing
            LOG.append(("emit", json, plain(payload) if case.shown else ""))

        monkeypatch.setattr(module, "emit", emitted)
        for kind in (FileOutput, FolderOutput, ContinuedOutput):
            check = kind.check

            def checked(self, option, path, values, inputs, *, force, check=check):
                if force:  # its only effect is here; that an output is written has to show elsewhere
                    LOG.append((option, "forced"))
                check(self, option, path, values, inputs, force=force)

            monkeypatch.setattr(kind, "check", checked)

    def __call__(self, line):
        """What is recorded, a list; or the refusal, a string."""
        if line not in self.known:
            self.known[line] = self._run(line)
            for index in Path().glob("*i.index"):
                index.unlink()
        return self.known[line]

    def _run(self, line):
        LOG.clear()
        try:
            self.command.main(line.split(), prog_name="kestrel", standalone_mode=False)
        except (InputError, typer.TyperException) as refusal:
            return str(refusal) if isinstance(refusal, InputError) else refusal.format_message()
        except typer.Exit:  # the code of a failed proof
            pass
        return list(LOG)


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.index").touch()


def values_of(command, case):
    return case.values | {"json": "--json"} | (
        {"force": "--force"} if "force" in command.labels else {})


def test_every_command_is_tried(leaf_commands):
    assert leaf_commands.keys() == CASES.keys()
    assert {name.split()[0] for name in CASES} == set(COMMANDS)


@pytest.mark.parametrize("name", CASES)
def test_every_option_is_declared_and_tried(leaf_commands, name):
    """A new option fails here until it says when it has an effect, and what to try it with."""
    command = leaf_commands[name]
    options = {parameter for parameter, label in command.labels.items() if label.startswith("--")} - {"help"}
    declared = command.declaration.options | (COMMON & options)
    assert declared == options
    assert command.declaration.always.isdisjoint({n for names in command.declaration.effects
                                                  for n in names.split()})
    assert values_of(command, CASES[name]).keys() == options


def tried(command, case, monkeypatch):
    """Options that are ignored, or refused without a word on them, a line each; and those that were accepted
    in some context, alone or beside another."""
    runner, labels = Runner(command, case, monkeypatch), command.labels
    used, faults = set(), []
    for context in case.contexts:
        alone = runner(context)
        # What is in the context already changes nothing when it is given again.
        values = {option: value for option, value in values_of(command, case).items() if value not in context}
        for option, value in values.items():
            found = runner(f"{context} {value}")
            if isinstance(found, list):
                used.add(option)
                if found == alone:
                    faults.append(f"{context} {value}: {value} is ignored")
            elif found != alone and not named(labels[option], found):
                faults.append(f"{context} {value}: refused without naming it: {found}")
        for a, b in combinations(values, 2):
            line = f"{context} {values[a]} {values[b]}"
            both = runner(line)
            if isinstance(both, list):
                used |= {a, b}
                faults += [f"{line}: {values[mine]} is ignored" for mine, other in ((a, b), (b, a))
                           if runner(f"{context} {values[other]}") == both]
            elif both != alone and not named(labels[a], both) and not named(labels[b], both):
                faults.append(f"{line}: refused without naming one: {both}")
    return faults, used


def named(label, refusal):
    """Whether a refusal names an option."""
    return label in refusal or label.strip("-").replace("-", " ") in refusal


@pytest.mark.parametrize("name", CASES)
def test_of_two_options_both_have_an_effect_or_one_is_refused(leaf_commands, name, there, monkeypatch):
    command, case = leaf_commands[name], CASES[name]
    faults, used = tried(command, case, monkeypatch)
    assert not faults, "\n".join(faults)
    assert used == values_of(command, case).keys(), "never accepted, in no context"


@pytest.mark.parametrize(("name", "ignored"), [
    ("simulate", {"--waves-from 5", "--waves-cycles 9", "--rotations 2", "--codes d.npz",
                  "--whitening w.safetensors"}),
    ("export", {"--config nano", "--size 64", "--descriptor e.npz"}),
    ("evaluate", {"--crops grid:2x2", "--rotations 2", "--save x.npz", "--train t.npz", "--seed 7"}),
])
def test_without_declarations_ignored_options_are_found(leaf_commands, name, ignored, there, monkeypatch):
    command = leaf_commands[name]
    monkeypatch.setattr(command.callback, ATTRIBUTE, Declaration(command.declaration.writes))
    faults, _ = tried(command, CASES[name], monkeypatch)
    found = {fault.rpartition(": ")[2].removesuffix(" is ignored") for fault in faults}
    assert ignored <= found, ignored - found


@pytest.mark.parametrize(("line", "message"), [
    ("simulate n.safetensors random:1 --rotations 1",
     "--rotations has no effect without --pooling; allowed: with --pooling"),
    ("simulate n.safetensors random:1 --waves-cycles 100",
     "--waves-cycles has no effect without --waves; allowed: with --waves"),
    ("describe n.safetensors p -o d.npz --weights random:1",
     "--weights has no effect with a backend that computes with the network's integers; allowed: with "
     "--backend float"),
    ("describe n.safetensors p -o d.npz --pooling rnip5x --crops whole",
     "--pooling has no effect where all that it stands for is given by other options; allowed: without some "
     "of --crops, --rois, --moment and the like"),
    ("describe n.safetensors p -o d.npz --pooling rmac --moment sqrt",
     "--pooling has no effect where all that it stands for is given by other options; allowed: without some "
     "of --crops, --rois, --moment and the like"),
    ("export n.safetensors -o rom --threshold median",
     "--threshold has no effect without --descriptor; allowed: with --descriptor"),
    ("evaluate --dataset s --descriptors d.npz --size 224",
     "--size has no effect with --descriptors; allowed: without --descriptors"),
    ("retrain n.safetensors --images p -o o.safetensors --margin 0.2",
     "--margin has no effect in a loss without triplet; allowed: with triplet in --loss"),
    ("retrain --network vgg11 --weights w.pth --float --images p -o o.safetensors --mask-bits 3",
     "--mask-bits has no effect with --float; allowed: without --float"),
    ("compress random:1 -o n.safetensors --calibrate p --seed 0",
     "--seed has no effect with --calibrate; allowed: without --calibrate"),
    ("plan vgg11 --force", "--force has no effect without an output; allowed: with --output"),
    ("regress --list --jobs 1", "--jobs has no effect with --list; allowed: without --list"),
    ("search i.index d.npz --network n.safetensors",
     "--network has no effect with descriptor files alone; allowed: with pictures among the queries"),
    ("scenes -o s --height 5 --width 6 --force --views 1 --groups 0", "groups 0"),
])
def test_a_refusal_says_why_and_what_helps(there, capsys, line, message):
    """Given is given, also with the value that is the default."""
    assert run(line.split()) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"kestrel: error: {message}")
    assert [path.name for path in Path().iterdir()] == ["there.index"]
