"""What a request may ask of the server, and the answers to those that ask for more."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException

MIB = 1 << 20

FORM_BYTES = 1 << 16
"""Of a form besides the picture: its other fields, and what parts them."""

QUEUE = 16
"""Searches under way and waiting; one more is told to come again later."""

UPLOAD_SECONDS = 120
"""Within which a whole upload has to arrive."""

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True)
class Limits:
    """upload_bytes: of a picture's file; pixels: of the picture; jobs: searches that are computed at once,
    and likewise pictures that are reduced for the page."""

    upload_bytes: int = 20 * MIB
    pixels: int = 50_000_000
    jobs: int = 2


def limited(receive: Receive, most: int) -> Receive:
    """``receive`` of a request whose body has at most ``most`` bytes; of a longer one it raises HTTPException
    413 as soon as that shows, whether or not the length was announced."""
    taken = 0

    async def take() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise too_large(most)
        return message

    return take


def too_large(most: int) -> HTTPException:
    """The answer to an upload of more than ``most`` bytes."""
    return HTTPException(413, f"upload too large; allowed: at most {megabytes(most)}")


def megabytes(count: int) -> str:
    return f"{count / MIB:.3g} MiB"
