"""What goes with every answer: who may do what with it, how long it keeps, and compression."""

import gzip
from collections.abc import Callable

from flask import Flask, Response, request

from web.context import Parts

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
DOCS_CSP = CSP.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
"""Swagger UI sets styles of its own; scripts stay as strict as elsewhere."""

WORTH_COMPRESSING_BYTES = 1024
WORTH_A_THREAD_BYTES = 30_000
MOST_KEPT = 100
_TEXTS = ("text/", "application/json", "application/javascript", "image/svg+xml")


def init_app(app: Flask, shared: Parts) -> None:
    """Add headers to each answer and compress what is worth it."""
    app.after_request(_with_rules)
    app.after_request(_with_cors(shared.settings.cors_origins))
    app.after_request(_Compression(shared).compress)


def _with_rules(answer: Response) -> Response:
    docs = request.path.startswith("/docs")
    answer.headers["Content-Security-Policy"] = DOCS_CSP if docs else CSP
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers["Cache-Control"] = _keeps(request.path)
    return answer


def _keeps(path: str) -> str:
    if path.startswith(("/static/vendor/", "/docs/assets/")):
        return "public, max-age=86400"
    return "no-cache" if path.startswith("/static/") else "no-store"


def _with_cors(origins: tuple[str, ...]) -> Callable[[Response], Response]:
    def add(answer: Response) -> Response:
        if origins:
            answer.vary.add("Origin")
        if request.origin in origins:
            answer.headers["Access-Control-Allow-Origin"] = request.origin
            if request.method == "OPTIONS":
                answer.headers["Access-Control-Allow-Methods"] = "GET, POST"
                answer.headers["Access-Control-Allow-Headers"] = "Content-Type"
                answer.headers["Access-Control-Max-Age"] = "3600"
        return answer

    return add


class _Compression:
    """Compresses texts; large ones beside the hub, files once."""

    def __init__(self, shared: Parts) -> None:
        self._shared = shared
        self._kept: dict[str, bytes] = {}

    def compress(self, answer: Response) -> Response:
        """Return the answer, compressed where the other side takes it and it is worth it."""
        if not (answer.mimetype or "").startswith(_TEXTS) or answer.status_code != 200:
            return answer
        answer.vary.add("Accept-Encoding")
        if request.accept_encodings["gzip"] <= 0 or "Content-Encoding" in answer.headers:
            return answer
        answer.direct_passthrough = False
        body = answer.get_data()
        if len(body) < WORTH_COMPRESSING_BYTES:
            return answer
        etag, _ = answer.get_etag()
        answer.set_data(self._compressed(etag, body))
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers.remove("Accept-Ranges")
        if etag:
            answer.set_etag(etag, weak=True)
        return answer

    def _compressed(self, etag: str | None, body: bytes) -> bytes:
        known = self._kept.get(etag) if etag else None
        if known is not None:
            return known
        if len(body) < WORTH_A_THREAD_BYTES:
            packed = gzip.compress(body, 6)
        else:
            packed = self._shared.stored.run(lambda: gzip.compress(body, 6))
        if etag and len(self._kept) < MOST_KEPT:
            self._kept[etag] = packed
        return packed
