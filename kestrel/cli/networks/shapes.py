"""``kestrel shapes``: generated pictures with labels, to train on."""

from pathlib import Path
from typing import Annotated

import typer

from kestrel.cli.output import JsonOption, emit, progress
from kestrel.sw.common.files import check_output_directory
from kestrel.sw.pictures.shapes import CLASSES, make_shapes, write_shapes


def shapes(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    classes: Annotated[int, typer.Option(help=f"Classes, 2..{len(CLASSES)}.")] = 20,
    per_class: Annotated[int, typer.Option(help="Pictures of each, 1..10000.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the first pictures; the next have the next ones.")] = 1,
    height: Annotated[int, typer.Option(help="Height of the pictures.")] = 96,
    width: Annotated[int, typer.Option(help="Width of the pictures.")] = 96,
    json: JsonOption = False,
) -> None:
    """Generate labelled pictures to train on: outlines and patterns, a folder a class.

    For pictures that are certainly others, to validate on, take a seed at least as much higher as there are
    pictures in a class.
    """
    check_output_directory(output)
    pictures = make_shapes(classes, per_class, height, width, seed)
    with progress("generating", len(pictures)) as advance:
        write_shapes(output, pictures, advance)
    payload = {"output": output, "classes": classes, "per_class": per_class, "images": len(pictures),
               "seed": seed, "names": list(CLASSES[:classes])}
    emit(payload, lambda console: console.print(
        f"written: {output}: {len(pictures)} pictures of {classes} classes", highlight=False,
        soft_wrap=True), json)
