"""``kestrel scenes``: generated pictures with ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from kestrel.cli.output import JsonOption, emit, progress
from kestrel.sw.common.files import check_output_directory
from kestrel.sw.common.picture_manifest import MANIFEST
from kestrel.sw.pictures.scenes import write_scenes


def scenes(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    groups: Annotated[int, typer.Option(help="Places, 1..999.")] = 12,
    views: Annotated[int, typer.Option(help="Views of each, 1..99.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the first place; the next has the next one.")] = 1,
    height: Annotated[int, typer.Option(help="Height of the pictures.")] = 240,
    width: Annotated[int, typer.Option(help="Width of the pictures.")] = 320,
    json: JsonOption = False,
) -> None:
    """Generate scenes to try retrieval on: views of the same places, and a manifest.

    The folder can be given to `kestrel evaluate --protocol groups`.
    """
    check_output_directory(output)
    with progress("generating", groups * views) as advance:
        rows = write_scenes(output, groups, views, seed, height, width, advance)
    payload = {"output": output, "manifest": output / MANIFEST, "groups": groups, "views": views,
               "images": len(rows), "seed": seed}
    emit(payload, lambda console: console.print(f"written: {output}: {len(rows)} views of {groups} places",
                                                highlight=False, soft_wrap=True), json)
