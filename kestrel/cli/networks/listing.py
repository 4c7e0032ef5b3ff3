"""``kestrel list``: the names that the options of other commands accept."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kestrel.cli.output import JsonOption, emit
from kestrel.cli.rules.declared import declares
from kestrel.cli.structure import families, show_families, show_structure, structure
from kestrel.hw.spec.configurations import NAMED
from kestrel.hw.spec.engine_config import BANKS, EngineConfig
from kestrel.sw.compress.fit import FIT_RULES
from kestrel.sw.model.compressed import load_network
from kestrel.sw.model.embedded import NETWORK_PATHS
from kestrel.sw.model.preprocessing import PREPROCESSINGS
from kestrel.sw.retrieval.benchmark.protocols import PROTOCOLS
from kestrel.sw.retrieval.describe.backends import backend_names
from kestrel.sw.retrieval.describe.extract import POOLINGS


@declares("network")
def list_(
    network: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Only the layers of this network: a name or a network file."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List networks, engine configurations, protocols and what other options may name."""
    if network is not None:
        found = structure(network)
        emit(found, lambda console: show_structure(found, console), json)
        return
    payload = {
        "networks": families(),
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


def _embedded() -> list[dict[str, Any]]:
    networks = {name: load_network(name) for name in NETWORK_PATHS}
    return [
        {"name": name, "network": network.name, "mask_bits": [layer.mask_bits for layer in network.layers],
         "weight_bits": network.weight_bits}
        for name, network in networks.items()
    ]


def _configuration(config: EngineConfig) -> dict[str, Any]:
    feature_bytes = BANKS * sum(config.feature_words) * config.word_bits // 8
    return {**asdict(config), "macs_per_cycle": config.macs_per_cycle, "feature_bytes": feature_bytes}


def _show(payload: dict[str, Any], console: Console) -> None:
    show_families(payload["networks"], console)
    console.print("Wherever a network file is wanted, these names stand for trained ones:")
    for found in payload["embedded"]:
        size = f"{found['weight_bits'] / 8:,.0f} bytes of weights"
        console.print(f"  {found['name']}: {found['network']}, {size}", highlight=False)
    console.print("")
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
