"""Headers of every response: content security, CORS and caching; and its compression."""

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from flask import Flask, Response, request

from web.assets import FOR_EVER
from web.context import Parts

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
DOCS_CSP = CSP.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger UI sets inline styles; scripts stay as restricted as elsewhere."""

LEAST_COMPRESSED_BYTES = 1024
LEAST_IN_THREAD_BYTES = 30_000
MOST_CACHED = 100
STREAM_LEVEL = 1
"""A third of the time of level 6, for a tenth more bytes."""
_VARY = dict.fromkeys(("application/json", "text/csv"), "Accept, Accept-Encoding")
_CORS_METHODS = "GET, POST, PATCH, DELETE"
_CORS_HEADERS = "Authorization, Content-Type, If-None-Match"
_TEXTS = ("text/", "application/json", "application/javascript", "image/svg+xml")


def init_app(app: Flask, shared: Parts) -> None:
    """Add headers to each response, and compress those that are large enough."""
    app.after_request(_with_security)
    app.after_request(_with_cors(shared.settings.cors_origins))
    app.after_request(_Compression(shared).compress)


def _with_security(response: Response) -> Response:
    docs = request.path.startswith("/docs")
    response.headers.setdefault("Content-Security-Policy", DOCS_CSP if docs else CSP)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    if not _is_cacheable(response):
        response.headers["Cache-Control"] = _cache_control(request.path)
    return response


def _vary(response: Response, header: str) -> None:
    """Note that the response depends on a header; `response.vary` parses it each time."""
    others = response.headers.get("Vary")
    response.headers["Vary"] = f"{others}, {header}" if others else header


def _is_of_rest(response: Response) -> bool:
    """Return whether it is one that REST has given an ETag."""
    return response.headers.get("Cache-Control", "").startswith("private")


def _is_cacheable(response: Response) -> bool:
    return _is_of_rest(response) or response.headers.get("Cache-Control") == FOR_EVER


def _cache_control(path: str) -> str:
    if path.startswith(("/static/vendor/", "/docs/assets/")):
        return "public, max-age=86400"
    return "no-cache" if path.startswith("/static/") else "no-store"


def _with_cors(origins: tuple[str, ...]) -> Callable[[Response], Response]:
    def add(response: Response) -> Response:
        if origins:
            _vary(response, "Origin")
        if request.origin in origins:
            response.headers["Access-Control-Allow-Origin"] = request.origin
            response.headers["Access-Control-Expose-Headers"] = "ETag, Link"
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = _CORS_METHODS
                response.headers["Access-Control-Allow-Headers"] = _CORS_HEADERS
                response.headers["Access-Control-Max-Age"] = "3600"
        return response

    return add


class _Compression:
    """Compresses texts: large ones in a thread, files only once."""

    def __init__(self, shared: Parts) -> None:
        self._shared = shared
        self._cache: dict[str, bytes] = {}

    def compress(self, response: Response) -> Response:
        """Return the response, compressed if it is large enough and the client accepts that."""
        if not (response.mimetype or "").startswith(_TEXTS) or response.status_code != 200:
            return response
        _vary(response, _VARY.get(response.mimetype or "", "Accept-Encoding"))
        if request.accept_encodings["gzip"] <= 0 or "Content-Encoding" in response.headers:
            return response
        if response.is_streamed and not response.direct_passthrough:
            return self._compress_stream(response)
        response.direct_passthrough = False
        body = response.get_data()
        if len(body) < LEAST_COMPRESSED_BYTES:
            return response
        etag, _ = response.get_etag()
        response.set_data(self._compressed(None if _is_of_rest(response) else etag, body))
        response.headers["Content-Encoding"] = "gzip"
        response.headers.remove("Accept-Ranges")
        if etag:
            response.set_etag(etag, weak=True)
        return response

    def _compress_stream(self, response: Response) -> Response:
        response.response = self._packed(response.iter_encoded())
        response.headers["Content-Encoding"] = "gzip"
        return response

    def _packed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        packer = zlib.compressobj(STREAM_LEVEL, wbits=zlib.MAX_WBITS | 16)  # 16: gzip's header
        for chunk in chunks:
            packed = self._shared.history.run(partial(packer.compress, chunk))
            if packed:
                yield packed
        yield packer.flush()

    def _compressed(self, etag: str | None, body: bytes) -> bytes:
        known = self._cache.get(etag) if etag else None
        if known is not None:
            return known
        level = 9 if etag else 6  # a file is compressed once
        if len(body) < LEAST_IN_THREAD_BYTES:
            packed = gzip.compress(body, level)
        else:
            packed = self._shared.history.run(lambda: gzip.compress(body, level))
        if etag and len(self._cache) < MOST_CACHED:
            self._cache[etag] = packed
        return packed
