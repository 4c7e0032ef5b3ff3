"""``kestrel list``: the names that the options of other commands accept."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from kestrel.cli.output import JsonOption, emit
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.hw.spec.widths import TAPS
from kestrel.sw.compress.fit import FIT_RULES
from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.embedded import EMBEDDED
from kestrel.sw.model.network import VGG_BLOCKS, parse_network
from kestrel.sw.model.preprocessing import PREPROCESSINGS
from kestrel.sw.retrieval.benchmark.protocols import PROTOCOLS
from kestrel.sw.retrieval.describe.backends import backend_names
from kestrel.sw.retrieval.describe.extract import POOLINGS


def list_(json: JsonOption = False) -> None:
    """List networks, engine configurations, protocols and what other options may name."""
    payload = {
        "networks": [_network(name) for name in VGG_BLOCKS],
        "embedded": _embedded(),
        "configurations": [_configuration(config) for config in NAMED.values()],
        "fits": list(FIT_RULES),
        "preprocessings": list(PREPROCESSINGS),
        "protocols": [{"name": p.name, "layout": p.layout, "source": p.source} for p in PROTOCOLS.values()],
        "poolings": {
            name: {"crops": crops, "chain": chain.text} for name, (crops, chain) in POOLINGS.items()
        },
        "backends": backend_names(),
    }
    emit(payload, lambda console: _show(payload, console), json)


def _network(name: str) -> dict[str, Any]:
    layers = parse_network(name).layers
    blocks = range(1, len(VGG_BLOCKS[name]) + 1)
    cuts = [layer.name for layer in layers] + [f"pool{block}" for block in blocks]
    weights = sum(TAPS * layer.in_channels * layer.out_channels for layer in layers)
    return {"name": name, "layers": len(layers), "weights": weights, "cuts": cuts}


def _embedded() -> dict[str, Any]:
    network = load_network(EMBEDDED)
    return {"name": EMBEDDED, "network": network.name, "mask_bits": [x.mask_bits for x in network.layers],
            "weight_bits": network.weight_bits}


def _configuration(config: EngineConfig) -> dict[str, Any]:
    feature_bytes = BANKS * sum(config.feature_words) * config.word_bits // 8
    return {**asdict(config), "macs_per_cycle": config.macs_per_cycle, "feature_bytes": feature_bytes}


def _show(payload: dict[str, Any], console: Console) -> None:
    networks = Table("network", "layers", "weights", title="Networks", title_justify="left")
    for network in payload["networks"]:
        networks.add_row(network["name"], str(network["layers"]), f"{network['weights']:,}")
    console.print(networks)
    console.print("A divisor of the channels and a cut may follow, as in vgg16/8:pool3.")
    found = payload["embedded"]
    console.print(f"Wherever a network file is wanted, {found['name']} names one that comes along: a trained "
                  f"{found['network']}, {found['weight_bits'] / 8:,.0f} bytes of weights.\n", highlight=False)
    configurations = Table(
        "name", "lanes", "MAC/cycle", "activation bits", "widest row", "feature memory",
        title="Engine configurations", title_justify="left",
    )  # fmt: skip
    for config in payload["configurations"]:
        configurations.add_row(
            config["name"], f"{config['input_lanes']} x {config['output_lanes']}",
            f"{config['macs_per_cycle']:,}", str(config["activation_bits"]), str(config["max_width"]),
            f"{config['feature_bytes'] / 1e6:.2f} MB",
        )  # fmt: skip
    console.print(configurations)
    console.print("Any other: a TOML file.\n")
    protocols = Table("name", "layout", "source", title="Retrieval protocols", title_justify="left")
    for protocol in payload["protocols"]:
        protocols.add_row(protocol["name"], protocol["layout"], protocol["source"])
    console.print(protocols)
    console.print("")
    console.print(f"Fitting rules:   {', '.join(payload['fits'])}")
    console.print(f"Preprocessings:  {', '.join(payload['preprocessings'])}")
    console.print(f"Backends:        {', '.join(payload['backends'])}")
    poolings = (f"{name} ({found['crops']})" for name, found in payload["poolings"].items())
    console.print(f"Poolings:        {', '.join(poolings)}", highlight=False)
