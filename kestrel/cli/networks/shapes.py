"""``kestrel shapes``: generated pictures with labels, to train on."""

from pathlib import Path
from typing import Annotated

import typer

from kestrel.api.pictures import write_shapes
from kestrel.cli.options.size import SizeOption
from kestrel.cli.output import JsonOption, emit, progress
from kestrel.cli.rules.declared import declares
from kestrel.cli.rules.outputs import FolderOutput, ForceOption
from kestrel.sw.pictures.shapes import CLASSES
from kestrel.sw.pictures.sizes import parse_size


@declares("output classes per_class seed size", writes={"output": FolderOutput()})
def shapes(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    classes: Annotated[int, typer.Option(help=f"Classes, 2..{len(CLASSES)}.")] = 20,
    per_class: Annotated[int, typer.Option(help="Pictures of each, 1..10000.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed of the first pictures; the next have the next ones.")] = 1,
    size: SizeOption = "96",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Generate labelled pictures to train on: outlines and patterns, a folder a class.

    For validation pictures that certainly differ, use a seed that is higher by at least the number of
    pictures in a class.
    """
    made = write_shapes(output, classes=classes, per_class=per_class, seed=seed, size=parse_size(size),
                        force=force, progress=progress)
    payload = {"output": output, "classes": classes, "per_class": per_class, "images": made.count,
               "seed": seed, "names": list(made.classes)}
    emit(payload, lambda console: console.print(
        f"written: {output}: {made.count} pictures of {classes} classes", highlight=False,
        soft_wrap=True), json)
