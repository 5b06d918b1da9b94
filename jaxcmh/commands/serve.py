"""A search page and a JSON API over a run or an index, on this machine: `jaxcmh serve`.

    GET  /search?text=blue+stripes&k=10       words
    POST /search?k=10                         the bytes of a picture
    GET  /thumbnail?item=03.png               a small picture of an item
    GET  /about                               what is searched

Answers are those of `jaxcmh search` and `index search`. Nothing that is asked names a file: items are found by their
ids among those that are served.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from jaxcmh import checks
from jaxcmh.commands import asked
from jaxcmh.commands.asked import Many
from jaxcmh.commands.examples import examples
from jaxcmh.extras import require
from jaxcmh.progress import progress, say

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from jaxcmh.index import Index
    from jaxcmh.model import Model

T = TypeVar("T")
LONGEST, LARGEST, MOST = 1_000, 10_000_000, 100  # signs of a text, bytes of a picture, answers
ANSWERS = 10  # if not told
AT_ONCE = 2  # searches; others wait
HERE = ("127.0.0.1", "localhost")
PAGE = Path(__file__).parent / "page"
STYLE = Path(__file__).parents[1] / "results" / "templates" / "style.css"
GUARDS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def serve(
    source: Path,
    /,
    *,
    model: Annotated[Path | None, Parameter(name=["--model", "-m"])] = None,
    pictures: Annotated[list[Path] | None, Many] = None,
    port: Annotated[int, checks.Whole(0, 65_535)] = 8000,
    host: str = "127.0.0.1",
) -> None:
    """Serve a page where one types words or drops a picture and sees the answers, and a JSON API. Needs extra `serve`.

    What is served is read again when its file changes, so an index may grow meanwhile. Ctrl-C or SIGTERM ends it.

    Parameters
    ----------
    source
        A run folder, or an index file with --model.
    model
        Run folder or model file that encoded the items of the index.
    pictures
        Folders with the pictures that ids of the index name, to be shown where the run keeps no thumbnails of them.
    port
        Where to listen; 0 for a port that is free.
    host
        Address to listen at; anything but this machine's own is open to all who reach it.
    """
    require("serve", "starlette", "uvicorn")
    import socket

    import uvicorn

    for folder in pictures or ():
        if not folder.is_dir():
            raise FileNotFoundError(f"--pictures: no such folder: {folder}")
    with progress() as steps:
        asked.start(steps)
        steps.step(f"reading {source}")
        now = watched(*sources(source, model))
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise OSError(
            f"--port: cannot listen at {host}, port {port} ({error.strerror}); --port 0 takes a free one"
        ) from None
    app = application(now, pictures or (), HERE if host in HERE else ("*",))
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5, server_header=False)
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{listening.getsockname()[1]}/", flush=True)
    if host not in HERE:
        say(f"warning: all who reach {host} can ask; there is no password")
    uvicorn.Server(config).run(sockets=[listening])


# -- what is served ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """What is searched: items of an index, or, if that is None, those that the model was trained on."""

    model: "Model"
    items: "Index | None"
    rows: dict[Any, int]  # id of an item -> its row in the model's catalogue
    proposed: tuple[str, ...]  # queries to try

    def __len__(self) -> int:
        return len(self.rows) if self.items is None else len(self.items)


def sources(source: Path, model: Path | None) -> tuple[list[Path], Callable[[], Served]]:
    """The files that are served, and what reads them.

    Raises:
        FileNotFoundError: `source` is not there, or no run.
        ValueError: an index without a model, a run with one, or a model that knows nothing of its items.
    """
    import jaxcmh.index
    from jaxcmh.results import runs

    if source.is_dir():
        if model is not None:
            raise ValueError("--model: expected with an index; a run folder has its own model")

        def read_run() -> Served:
            run = runs.read_run(source)
            known = _knowing(jaxcmh.load(source), source)
            rows, names = runs.things(run, known)
            return warm(Served(known, None, dict(zip(names.tolist(), rows.tolist())), tuple(examples(known))))

        return [source / "model.safetensors"], read_run
    if not source.exists():
        raise FileNotFoundError(f"source: no run folder or index at {source}")
    if model is None:
        raise ValueError("--model: expected with an index, the run folder that encodes what is asked")
    file = model / "model.safetensors" if model.is_dir() else model

    def read_model() -> tuple["Model", dict[Any, int], tuple[str, ...]]:
        known = _knowing(jaxcmh.load(file), file)
        assert known.catalogue is not None
        names = known.catalogue.names or known.catalogue.ids.tolist()
        rows = {name: row for row, name in reversed(list(enumerate(names)))}  # the first of a name
        return known, rows, tuple(examples(known))

    encoder = watched([file], read_model)

    def read_index() -> Served:
        known, rows, proposed = encoder()
        return warm(Served(known, jaxcmh.index.load(source), rows, proposed))

    return [source, file], read_index


def _knowing(model: "Model", path: Path) -> "Model":
    if model.catalogue is None or not model.catalogue.makers:
        raise ValueError(
            f"{path}: it does not know how texts and pictures become features; train on a folder of pictures, or on "
            "what `jaxcmh features` wrote, with this version"
        )
    return model


def watched(files: list[Path], read: Callable[[], T]) -> Callable[[], T]:
    """What `read` makes of files, made anew when one of them has changed; what cannot be read leaves the former.

    The first is read at once.
    """

    def stamp() -> list[tuple[int, ...]] | None:
        try:
            return [(s.st_mtime_ns, s.st_size, s.st_ino) for s in (file.stat() for file in files)]
        except OSError:
            return None

    seen = stamp()
    value = read()
    lock = threading.Lock()

    def now() -> T:
        nonlocal seen, value
        if lock.acquire(blocking=False):  # others are answered from the former meanwhile
            try:
                if (there := stamp()) != seen:
                    seen = there  # once, also where it cannot be read
                    value = read()
            except (OSError, ValueError) as error:
                say(f"warning: what was read before is served on: {error}")
            finally:
                lock.release()
        return value

    return now


def warm(served: Served) -> Served:
    """Search once, so that what a query needs is compiled and a model that does not fit the index is refused."""
    import numpy as np

    for kind in ("text", "image"):
        if kind in served.model.catalogue.view_names:  # pyright: ignore[reportOptionalMemberAccess]
            view = served.model.view(kind)
            found(served, view, np.zeros((1, served.model.info.dims[view]), np.float32), ANSWERS)
    return served


def thumbnail(served: Served, item: str, pictures: Sequence[Path]) -> bytes | None:
    """A small picture of an item: of the index, of the run, or of a file that its id names in a folder; else None."""
    known, number = served.model.catalogue, int(item) if re.fullmatch(r"[0-9]{1,18}", item) else None
    if served.items is not None and (small := served.items.details.thumbnails):
        ids = served.items.ids.values
        for row in (ids == (item if ids.dtype.kind == "U" else number)).nonzero()[0]:
            if small[row]:
                return small[row]
    row = served.rows.get(item, served.rows.get(number))
    if known is not None and known.thumbnails and row is not None:
        return known.thumbnails[row]
    if not pictures or served.items is None or not (served.items.ids.values == item).any():
        return None
    files = [(folder, (folder / item).resolve()) for folder in pictures]
    inside = [file for folder, file in files if file.is_relative_to(folder.resolve()) and file.is_file()]
    return _small(inside[0], inside[0].stat().st_mtime_ns) if inside else None


@lru_cache(1000)
def _small(file: Path, changed: int) -> bytes | None:
    from jaxcmh.datasets.catalogue import thumbnail

    try:
        return thumbnail(file)
    except ValueError:
        return None


def found(served: Served, view: int, rows: Any, k: int) -> list[dict[str, Any]]:
    """The answers to one query, as JSON.

    Args:
        served: what is searched.
        view, rows: of the query's features, (1, d).
        k: answers; fewer where there are fewer items.
    """

    import jaxcmh.index
    from jaxcmh.model import answers

    model, known = served.model, served.model.catalogue
    assert known is not None
    word = "distance" if model.codebooks is None else "score"
    if served.items is None:
        some = answers(model, rows, view, min(k, known.pairs[0]))[0]
        named = bool(served.rows) and isinstance(next(iter(served.rows)), str)
        shown = [(one, one.name if named else one.item, one.row) for one in some]
    elif not len(served):
        shown = []
    else:
        some = jaxcmh.index.answers(served.items, rows, min(k, len(served)), model=model, view=view)[0]
        shown = [(one, one.item, served.rows.get(one.item)) for one in some]
    return [
        {
            "rank": one.rank,
            word: one.score,
            "item": item,
            "labels": list(one.labels) or ([] if row is None else known.labels_of(row)),
            "text": one.text or (known.texts[row] if known.texts and row is not None else ""),
        }
        for one, item, row in shown
    ]


# -- the server -------------------------------------------------------------------------------------------------------


def application(now: Callable[[], Served], pictures: Sequence[Path] = (), hosts: tuple[str, ...] = HERE) -> "Starlette":
    """The page and the API.

    Args:
        now: gives what is served now.
        pictures: folders with files that ids name.
        hosts: names by which it may be asked, so that no foreign page asks under a name of its own.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import FileResponse, JSONResponse, Response
    from starlette.routing import Route

    pool = ThreadPoolExecutor(AT_ONCE)

    async def aside(work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)

    def refused(status: int, why: str) -> HTTPException:
        return HTTPException(status, why)

    def asked_for(request: Request, name: str) -> str | None:
        given = request.query_params.getlist(name)
        if len(given) > 1:
            raise refused(400, f"{name}: expected once; got {len(given)} times")
        return given[0] if given else None

    def count(request: Request) -> int:
        k = asked_for(request, "k") or str(ANSWERS)
        if not (k.isascii() and k.isdigit() and len(k) < 4 and 1 <= int(k) <= MOST):
            raise refused(400, f"k: expected an integer from 1 to {MOST}; got {k[:20]!r}")
        return int(k)

    async def picture_of(request: Request) -> bytes:
        """The body, of which no more is read than is allowed, and nothing where it is announced to be larger."""
        too_large = refused(413, f"picture: expected at most {LARGEST:,} bytes")
        if int(request.headers.get("content-length", 0)) > LARGEST:  # digits: the server refuses others
            raise too_large
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > LARGEST:
                raise too_large
        if not content:
            raise refused(400, "picture: expected the bytes of a picture, as the body of the request")
        return bytes(content)

    async def search(request: Request) -> Response:
        k = count(request)
        if request.method == "POST":
            kind, raw = "image", await picture_of(request)
        else:
            kind, raw = "text", (asked_for(request, "text") or "").strip()
            if not raw or len(raw) > LONGEST:
                raise refused(400, f"text: expected 1 to {LONGEST} signs; got {len(raw)}")

        def work() -> dict[str, Any]:
            served = now()
            try:
                view, rows = served.model.features(kind, [raw])
            except ValueError as error:
                raise refused(400, re.sub(r"^\w+\[0\]: ", "", str(error))) from None
            return {"answers": found(served, view, rows, k), "items": len(served)}

        return JSONResponse(await aside(work))

    async def picture(request: Request) -> Response:
        item = asked_for(request, "item")
        if item is None:
            raise refused(400, "item: expected the id of an item")
        content = await aside(lambda: thumbnail(now(), item, pictures))
        if content is None:
            raise refused(404, "item: there is no picture of it")
        return Response(content, media_type="image/png" if content.startswith(b"\x89PNG") else "image/jpeg")

    async def about(request: Request) -> Response:
        served = await aside(now)
        known = served.model.catalogue
        assert known is not None
        facts = {
            "items": len(served),
            "bits": served.model.info.bits,
            "method": served.model.info.method,
            "views": list(known.view_names),
            "examples": list(served.proposed),
            "pictured": bool(known.thumbnails or pictures or (served.items and served.items.details.thumbnails)),
            "scores": "distance" if served.model.codebooks is None else "score",
        }
        return JSONResponse(facts)

    def file(path: Path) -> Route:
        return Route(f"/{'' if path.suffix == '.html' else path.name}", lambda request: FileResponse(path))

    def error(request: Request, failure: Exception) -> Response:
        assert isinstance(failure, HTTPException)
        return JSONResponse({"error": failure.detail}, failure.status_code)

    return Starlette(
        routes=[
            *map(file, (PAGE / "index.html", PAGE / "page.js", PAGE / "page.css", STYLE)),
            Route("/search", search, methods=["GET", "POST"]),
            Route("/thumbnail", picture),
            Route("/about", about),
        ],
        middleware=[Middleware(guarded), Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={HTTPException: error},
    )


def guarded(app: "ASGIApp") -> "ASGIApp":
    """The application with headers that keep what is shown from being more than text and pictures."""
    headers = [(name.lower().encode(), value.encode()) for name, value in GUARDS.items()]

    async def with_headers(scope: "Scope", receive: "Receive", send: "Send") -> None:
        async def sent(message: "Message") -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await app(scope, receive, sent)

    return with_headers
