"""``kestrel scenes``: generated pictures with ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from kestrel.api.pictures import write_scenes
from kestrel.cli.options.size import SizeOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.sw.pictures.sizes import parse_size


@declares("output groups views seed size", writes={"output": FolderOutput()})
def scenes(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    groups: Annotated[int, typer.Option(help="Places, 1..999.")] = 12,
    views: Annotated[int, typer.Option(help="Views of each, 1..99.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the first place; the next has the next one.")] = 1,
    size: SizeOption = "240x320",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Generate scenes to try retrieval on: views of the same places, and a manifest.

    The folder can be given to `kestrel evaluate --protocol groups`.
    """
    made = write_scenes(output, groups=groups, views=views, seed=seed, size=parse_size(size),
                        force=force, progress=progress)
    payload = {"output": output, "manifest": made.manifest, "groups": groups, "views": views,
               "images": len(made.files), "seed": seed}
    text = f"written: {output}: {len(made.files)} views of {groups} places"
    emit(payload, lambda console: console.print(text, highlight=False, soft_wrap=True), json)
