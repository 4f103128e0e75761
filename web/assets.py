"""Scripts and style sheets: those of a page joined into one file each, cached by browsers for ever.

The names have a hash of their content, so that a new version has new addresses.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from flask import Blueprint, Response, abort, url_for

blueprint = Blueprint("assets", __name__)

STATIC = Path(__file__).parent / "static"
FOR_EVER = "public, max-age=31536000, immutable"
_TYPES = {"js": "text/javascript", "css": "text/css"}
_IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"\./([^"]+)";\n', re.MULTILINE)
_DECLARED = re.compile(r"^export ((?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
_LISTED = re.compile(r"\bexport\s*\{([^}]*)\};?")
_COMMENT = re.compile(r"^ *(?:/\*.*?\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)


@blueprint.app_template_global()
def script_url(name: str) -> str:
    """Return the address of a page's module, such as "overview", with all that it imports."""
    return _url(name, "js")


@blueprint.app_template_global()
def style_url(*names: str) -> str:
    """Return the address of style sheets as one, in their order."""
    return _url("+".join(names), "css")


@blueprint.get("/assets/<names>.<content_hash>.<kind>")
def asset(names: str, content_hash: str, kind: str) -> Response:
    """Return a joined file; 404 where it has another content by now."""
    if kind not in _TYPES or not re.fullmatch(r"[\w+]+", names):
        abort(404)
    try:
        text = _joined(names, kind)
    except FileNotFoundError:
        abort(404)
    if content_hash != _hash(text):
        abort(404)
    response = Response(text, mimetype=_TYPES[kind], headers={"Cache-Control": FOR_EVER})
    response.set_etag(content_hash)
    return response


def join_modules(entry: str, folder: Path = STATIC) -> str:
    """Return a module and all that it imports as one, each in a scope of its own.

    Known are `import { a, b as c } from "./file.js"` and exports of declarations. A vendored file
    without an export gives what its importers ask for, as a script's global would. Raises
    ValueError for modules that import each other.
    """
    parts = dict[str, str]()
    _add_module(f"{entry}.js", folder, parts, ())
    return "".join(parts.values())


def _add_module(name: str, folder: Path, parts: dict[str, str], importers: tuple[str, ...]) -> None:
    if name in importers:
        raise ValueError(f"{name} imports itself, by {', '.join(importers)}")
    source = (folder / name).read_text(encoding="utf-8")
    if "vendor/" not in name:
        source = _COMMENT.sub("", source)
    imports = [(found[1], found[2]) for found in _IMPORT.finditer(source)]
    for _, imported in imports:
        if imported not in parts:
            _add_module(imported, folder, parts, (*importers, name))
    lines = [
        f"const {{ {_names(bindings)} }} = {_variable(imported)};\n"
        for bindings, imported in imports
    ]
    source = "".join(lines) + _IMPORT.sub("", source)
    exported = ", ".join(_exports(source))
    if not exported and importers and "vendor/" in name:
        exported = _global_of(source)
    source = _LISTED.sub("", _DECLARED.sub(r"\1", source))
    parts[name] = (
        f"const {_variable(name)} = (() => {{\n{source}\nreturn {{ {exported} }};\n}})();\n"
    )


def _exports(source: str) -> Iterator[str]:
    for found in _DECLARED.finditer(source):
        yield found[2]
    for found in _LISTED.finditer(source):
        for binding in found[1].split(","):
            inner, _, outer = binding.strip().partition(" as ")
            if outer != "default":
                yield f"{outer}: {inner}" if outer else inner


def _names(bindings: str) -> str:
    names = (binding.strip() for binding in bindings.split(","))
    return ", ".join(name.replace(" as ", ": ") for name in names if name)


def _global_of(source: str) -> str:
    found = re.search(r"^(?:var|const|let|function) (\w+)", source, re.MULTILINE)
    if found is None:
        raise ValueError("a vendored script declares nothing at its first level")
    return found[1]


def _variable(name: str) -> str:
    return "$" + re.sub(r"\W", "_", name.removesuffix(".js"))


def _url(names: str, kind: str) -> str:
    text = _joined(names, kind)
    return url_for("assets.asset", names=names, content_hash=_hash(text), kind=kind)


@cache
def _joined(names: str, kind: str) -> str:
    if kind == "js":
        return join_modules(names)
    files = (STATIC / f"{name}.css" for name in names.split("+"))
    return "".join(_COMMENT.sub("", path.read_text(encoding="utf-8")) for path in files)


@cache
def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
