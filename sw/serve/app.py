"""The server's addresses: the page, its files, searches and pictures. docs/serve.md describes them."""

import base64
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kestrel.hw.spec.errors import InputError
from kestrel.sw.pictures.decode import ALL_SUFFIXES
from kestrel.sw.serve.guard import Guard
from kestrel.sw.serve.limits import FORM_BYTES, QUEUE, UPLOAD_SECONDS, Limits, limited, too_large
from kestrel.sw.serve.pictures import SIDES, jpeg, read_upload
from kestrel.sw.serve.searcher import Answer, Asked, Hit, Searcher

PACKAGE = "kestrel.sw.serve"

FIELDS = ("codes", "engine", "count", "regions", "preview")
"""Of a search's form, besides the picture."""

NAME_MAX = 120

Result = TypeVar("Result")


@dataclass(frozen=True)
class About:
    """What the page says of the server. index: its name; facts: further lines of its head, by their title;
    refused: engines that cannot be chosen, by name, with the reason; count: of matches, unless another is
    asked for."""

    index: str
    facts: Mapping[str, str]
    refused: Mapping[str, str]
    count: int


def make_app(searcher: Searcher, about: About, limits: Limits, hosts: tuple[str, ...] | None) -> Guard:
    """The application (ASGI). hosts: the only names by which it may be asked for, so that no other site's
    name can lead to it (None: any)."""
    handlers = _Handlers(searcher, about, limits)
    static = resources.files(PACKAGE) / "static"
    routes = [
        Route("/", handlers.page),
        Route("/api/about", handlers.about),
        Route("/api/search", handlers.search, methods=["POST"]),
        Route("/pictures/{size}/{name:path}", handlers.picture),
        Mount("/static", StaticFiles(directory=str(static))),
    ]
    return Guard(Starlette(routes=routes, exception_handlers={
        HTTPException: _refused, InputError: _unusable, ClientDisconnect: _gone, Exception: _defect}), hosts)


class _Handlers:
    def __init__(self, searcher: Searcher, about: About, limits: Limits) -> None:
        self._searcher = searcher
        self._about = about
        self._limits = limits
        self._under_way = 0
        # Apart, so that pictures come while the chip is simulated.
        self._searches = CapacityLimiter(limits.jobs)
        self._reductions = CapacityLimiter(limits.jobs)
        environment = Environment(loader=PackageLoader(PACKAGE), autoescape=True, undefined=StrictUndefined,
                                  trim_blocks=True, lstrip_blocks=True)
        page = environment.get_template("page.html.j2").render(about=self._payload(), suffixes=ALL_SUFFIXES)
        self._page = page.encode("utf-8", "replace")

    async def page(self, request: Request) -> Response:  # noqa: ARG002
        return HTMLResponse(self._page)

    async def about(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse(self._payload())

    async def search(self, request: Request) -> Response:
        if self._under_way >= QUEUE:
            raise HTTPException(503, f"{QUEUE} searches are under way or waiting; allowed: again, later",
                                {"Retry-After": "5"})
        self._under_way += 1
        try:
            return await self._search(request)
        finally:
            self._under_way -= 1

    async def _search(self, request: Request) -> Response:
        most = self._limits.upload_bytes + FORM_BYTES
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > most:
            raise too_large(self._limits.upload_bytes)
        asking = Request(request.scope, limited(request.receive, most))
        try:
            with anyio.fail_after(UPLOAD_SECONDS):
                form = await asking.form(max_files=1, max_fields=len(FIELDS), max_part_size=FORM_BYTES)
        except TimeoutError as error:
            raise HTTPException(408, f"upload took too long; allowed: {UPLOAD_SECONDS} seconds") from error
        try:
            upload = form.get("picture")
            if not isinstance(upload, UploadFile):
                raise HTTPException(400, "no picture; allowed: a form (multipart/form-data) whose field "
                                         "picture is a file")
            if (upload.size or 0) > self._limits.upload_bytes:
                raise too_large(self._limits.upload_bytes)
            asked, preview = self._asked(form)
            return JSONResponse(await _in_thread(self._searches, self._answer, upload, asked, preview))
        finally:
            await form.close()

    def _asked(self, form: FormData) -> tuple[Asked, bool]:
        for name in form:
            if name not in (*FIELDS, "picture"):
                raise InputError(f"field {name!r:.40}; allowed: picture, {', '.join(FIELDS)}")
        codes = _text(form, "codes", next(iter(self._searcher.indexes)))
        engine = _text(form, "engine", next(iter(self._searcher.engines)))
        if engine in self._about.refused:
            raise InputError(f"engine {engine}: {self._about.refused[engine]}")
        asked = Asked(codes, engine, _number(form, "count", self._about.count), _number(form, "regions", 5))
        return asked, _number(form, "preview", 0) > 0

    def _answer(self, upload: UploadFile, asked: Asked, preview: bool) -> dict[str, Any]:
        """In a thread of its own."""
        name = _file_name(upload.filename)
        suffix = PurePosixPath(name).suffix.lower()
        with tempfile.NamedTemporaryFile(prefix="kestrel-", suffix=suffix if suffix in ALL_SUFFIXES else "",
                                         buffering=0) as file:
            while block := upload.file.read(1 << 20):
                file.write(block)
            rgb, remarks = read_upload(Path(file.name), name, self._limits.pixels)
        answer = self._searcher.search(rgb, asked)
        shown = base64.b64encode(jpeg(rgb, SIDES["large"])).decode("ascii") if preview else None
        query = {"name": name, "height": rgb.shape[0], "width": rgb.shape[1], "remarks": list(remarks)}
        return {"query": query | ({"preview": f"data:image/jpeg;base64,{shown}"} if shown else {}),
                "codes": asked.codes, "engine": asked.engine, **_payload(answer)}

    async def picture(self, request: Request) -> Response:
        name, size = request.path_params["name"], request.path_params["size"]
        path = self._searcher.pictures.file(name) if size in SIDES else None
        if path is None:
            raise HTTPException(404, "no such picture in the index")
        content = await _in_thread(self._reductions, self._searcher.pictures.jpeg, path, size)
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=60"})

    def _payload(self) -> dict[str, Any]:
        return {
            "index": self._about.index, "facts": dict(self._about.facts),
            "codes": list(self._searcher.indexes), "engines": list(self._searcher.engines),
            "refused": dict(self._about.refused), "count": self._about.count,
            "limits": asdict(self._limits),
        }  # fmt: skip


async def _in_thread(limiter: CapacityLimiter, work: Callable[..., Result], *arguments: object) -> Result:
    """Heavy work, away from the event loop and only so much of it at a time."""
    return await to_thread.run_sync(partial(work, *arguments), limiter=limiter)


def _payload(answer: Answer) -> dict[str, Any]:
    return {
        "measure": answer.measure, "frames": answer.frames, "cycles": answer.cycles,
        "describing_seconds": round(answer.describing_seconds, 4),
        "searching_seconds": round(answer.searching_seconds, 4),
        "matches": [_hit(rank, hit) for rank, hit in enumerate(answer.hits, 1)],
    }  # fmt: skip


def _hit(rank: int, hit: Hit) -> dict[str, Any]:
    regions = [{"agreement": round(pair.cosine, 4), "query": asdict(pair.query), "match": asdict(pair.match)}
               for pair in hit.regions]
    return {"rank": rank, "name": hit.name, "score": hit.score, "has_picture": hit.has_picture,
            "regions": regions}


def _text(form: FormData, name: str, default: str) -> str:
    value = form.get(name, default)
    if not isinstance(value, str):
        raise InputError(f"field {name}: a file; allowed: a text")
    return value


def _number(form: FormData, name: str, default: int) -> int:
    text = _text(form, name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"{name} {text!r:.40}; allowed: a number")
    return int(text)


def _file_name(given: str | None) -> str:
    """A name for messages: without folders of the user's machine, signs that do not print, and an end."""
    last = (given or "").replace("\\", "/").rpartition("/")[2]
    return "".join(sign for sign in last if sign.isprintable())[-NAME_MAX:] or "upload"


async def _refused(request: Request, error: Exception) -> Response:  # noqa: ARG001
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _unusable(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return JSONResponse({"error": " ".join(str(error).split())}, 400)


async def _gone(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Nobody is there to read it."""
    return JSONResponse({"error": "the upload ended too early"}, 400)


async def _defect(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """The server prints the traceback; the asker learns that it was not the picture's fault."""
    return JSONResponse({"error": f"the server failed ({type(error).__name__})"}, 500)
