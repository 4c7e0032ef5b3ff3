"""Turns a trained VGG-class network into a low-power image-retrieval chip, and proves it bit-exact.

What is public is named once, in the imports below. Type checkers read them; at run time each is done when
its name is first asked for, as importing any module of the package runs this file, and the command line and
the processes of the test benches shall not wait for torch.
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Every name comes "as" itself, which says that it is handed on (PEP 484).
    from kestrel.api.allocation import AllocationRun as AllocationRun
    from kestrel.api.allocation import AllocationSettings as AllocationSettings
    from kestrel.api.allocation import AllocationStudy as AllocationStudy
    from kestrel.api.allocation import AllocationTarget as AllocationTarget
    from kestrel.api.allocation import allocate as allocate
    from kestrel.api.boards import BoardDescriptors as BoardDescriptors
    from kestrel.api.boards import BoardFiles as BoardFiles
    from kestrel.api.boards import BoardProof as BoardProof
    from kestrel.api.boards import build_board as build_board
    from kestrel.api.boards import describe_on_board as describe_on_board
    from kestrel.api.boards import simulate_board as simulate_board
    from kestrel.api.chip import VerilogReport as VerilogReport
    from kestrel.api.chip import export_network as export_network
    from kestrel.api.chip import fit_config as fit_config
    from kestrel.api.chip import write_verilog as write_verilog
    from kestrel.api.descriptors import CodeOptions as CodeOptions
    from kestrel.api.descriptors import DescribeRun as DescribeRun
    from kestrel.api.descriptors import describe as describe
    from kestrel.api.descriptors import describe_benchmark as describe_benchmark
    from kestrel.api.descriptors import encode as encode
    from kestrel.api.descriptors import fit_whitening as fit_whitening
    from kestrel.api.descriptors import learn_quantiser as learn_quantiser
    from kestrel.api.designs import design as design
    from kestrel.api.designs import report_design as report_design
    from kestrel.api.estimates import estimate as estimate
    from kestrel.api.networks import compress as compress
    from kestrel.api.networks import load_weights as load_weights
    from kestrel.api.networks import retrain as retrain
    from kestrel.api.pictures import Scenes as Scenes
    from kestrel.api.pictures import Shapes as Shapes
    from kestrel.api.pictures import load_pictures as load_pictures
    from kestrel.api.pictures import network_input as network_input
    from kestrel.api.pictures import write_scenes as write_scenes
    from kestrel.api.pictures import write_shapes as write_shapes
    from kestrel.api.planning import FramePlan as FramePlan
    from kestrel.api.planning import plan as plan
    from kestrel.api.retrieval import IndexOptions as IndexOptions
    from kestrel.api.retrieval import build_index as build_index
    from kestrel.api.retrieval import evaluate as evaluate
    from kestrel.api.retrieval import load_benchmark as load_benchmark
    from kestrel.api.retrieval import load_truth as load_truth
    from kestrel.api.retrieval import query_describer as query_describer
    from kestrel.api.retrieval import report as report
    from kestrel.api.retrieval import search as search
    from kestrel.api.simulation import ChipProof as ChipProof
    from kestrel.api.simulation import DescriptorProof as DescriptorProof
    from kestrel.api.simulation import EngineProof as EngineProof
    from kestrel.api.simulation import simulate as simulate
    from kestrel.api.simulation import simulate_chip as simulate_chip
    from kestrel.api.simulation import simulate_descriptors as simulate_descriptors
    from kestrel.export.export import ExportReport as ExportReport
    from kestrel.export.export import import_network as import_network
    from kestrel.hw.spec.configurations import load_config as load_config
    from kestrel.hw.spec.engine_config import EngineConfig as EngineConfig
    from kestrel.hw.spec.errors import InputError as InputError
    from kestrel.sw.board.client import BoardClient as BoardClient
    from kestrel.sw.compress.report import CompressionReport as CompressionReport
    from kestrel.sw.design.design import Design as Design
    from kestrel.sw.estimate.estimate import Estimate as Estimate
    from kestrel.sw.model.compressed import CompressedNetwork as CompressedNetwork
    from kestrel.sw.model.compressed import load_network as load_network
    from kestrel.sw.model.compressed import save_network as save_network
    from kestrel.sw.model.reference import Reference as Reference
    from kestrel.sw.model.weights import FloatNetwork as FloatNetwork
    from kestrel.sw.planning.fit import FittedConfig as FittedConfig
    from kestrel.sw.retrain.losses import LossSettings as LossSettings
    from kestrel.sw.retrain.networks.quantised_conv import QuantiseOptions as QuantiseOptions
    from kestrel.sw.retrain.run import PictureSettings as PictureSettings
    from kestrel.sw.retrain.run import Retrained as Retrained
    from kestrel.sw.retrain.run import RetrainFiles as RetrainFiles
    from kestrel.sw.retrain.run import RetrainSettings as RetrainSettings
    from kestrel.sw.retrain.settings import TrainSettings as TrainSettings
    from kestrel.sw.retrain.start import StudentSettings as StudentSettings
    from kestrel.sw.retrain.start import TeacherSettings as TeacherSettings
    from kestrel.sw.retrieval.benchmark.evaluate import Evaluation as Evaluation
    from kestrel.sw.retrieval.describe.backends import Backend as Backend
    from kestrel.sw.retrieval.describe.backends import BackendRequest as BackendRequest
    from kestrel.sw.retrieval.describe.backends import backend_names as backend_names
    from kestrel.sw.retrieval.describe.descriptor import Descriptors as Descriptors
    from kestrel.sw.retrieval.describe.descriptor import load_descriptors as load_descriptors
    from kestrel.sw.retrieval.describe.descriptor import save_descriptors as save_descriptors
    from kestrel.sw.retrieval.describe.extract import Describer as Describer
    from kestrel.sw.retrieval.describe.extract import make_describer as make_describer
    from kestrel.sw.retrieval.describe.options import DescriptorOptions as DescriptorOptions
    from kestrel.sw.retrieval.describe.whitening import Whitening as Whitening
    from kestrel.sw.retrieval.describe.whitening import load_whitening as load_whitening
    from kestrel.sw.retrieval.describe.whitening import save_whitening as save_whitening
    from kestrel.sw.retrieval.pooling.nip import NipSettings as NipSettings
    from kestrel.sw.retrieval.pooling.quantise import Quantiser as Quantiser
    from kestrel.sw.retrieval.report.measure import ReportRequest as ReportRequest
    from kestrel.sw.retrieval.search.index import DescriptorIndex as DescriptorIndex
    from kestrel.sw.retrieval.search.query import Result as Result
    from kestrel.verif.simulate.frame import SimulationError as SimulationError
    from kestrel.verif.simulate.frame import Waves as Waves

    __all__: list[str]


@cache
def _homes() -> dict[str, str]:
    """Every public name with the module that it comes from, as the imports above say."""
    tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {alias.name: node.module or "" for node in block.body if isinstance(node, ast.ImportFrom)
            for alias in node.names}


if not TYPE_CHECKING:  # a checker that saw it would take every name for an attribute

    def __getattr__(name: str) -> object:
        if name == "__all__":
            return sorted(_homes())
        if name not in _homes():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_homes()[name]), name)
        globals()[name] = value  # the next time it is found without us
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})
