"""A disk whose power can be cut at any moment.

`tests/support/recorded_disk.py` records what programs ask of it; from such a recording, `survivors`
derives what is left after a cut. A disk keeps what was synced, and nothing else is sure: of the
rest `forget` keeps nothing, `tear` keeps any writes, the last one torn within a page, and the first
of the changed names.

As ext4, XFS and Btrfs do, syncing a file also keeps the name that it has, but no other name: a file
that was replaced by renaming is sure only when its directory is synced.
"""

import contextlib
import os
import pickle
import posixpath
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, Self

import pytest

from tests.support.parts import Part, require, wait_until

MARKS = "marks"
"""The file at the top of the disk in which programs note what they have acknowledged."""
SECTOR = 512
DEVICE = Path("/dev/fuse")
ROOT_NODE = 1

Mode = Literal["forget", "tear", "keep"]
"""What becomes of that which was not synced; with `keep` there was no cut."""
MODES: tuple[Mode, ...] = ("forget", "tear")


class Op(NamedTuple):
    """What was asked for: `write`, `truncate`, `sync`, `add`, `remove`, `rename` or `mark`.

    `node` is the file, or the directory of the names; `data` what was written, or the names.
    """

    kind: str
    at_s: float
    node: int = 0
    place: int = 0
    data: Any = None


# -- what is left ------------------------------------------------------------------------------


@dataclass
class _Node:
    """A file or a directory as it is on the disk, and what was asked for since it was synced."""

    directory: bool = False
    safe: bytearray = field(default_factory=bytearray)
    names: dict[str, int] = field(default_factory=dict)
    unsynced: list[Op] = field(default_factory=list)


class Cut(NamedTuple):
    """The files that a cut has left, by path, and what was acknowledged before it."""

    at_s: float
    files: dict[str, bytes]
    marks: tuple[str, ...]


def survivors(
    recording: Iterable[Op], moments: Iterable[int], mode: Mode, dice: Random
) -> Iterator[Cut]:
    """Yield what is left after a cut before each of these operations, which are in order."""
    nodes, marks, number, left = {ROOT_NODE: _Node(directory=True)}, list[str](), 0, list(moments)
    at_s = 0.0
    for number, op in enumerate(recording):  # its last value counts
        while left and left[0] <= number:
            left.pop(0)
            yield Cut(op.at_s, _left(nodes, mode, dice), tuple(marks))
        _replay(nodes, marks, op)
        at_s = op.at_s
    for _ in left:
        yield Cut(at_s, _left(nodes, mode, dice), tuple(marks))


def _replay(nodes: dict[int, _Node], marks: list[str], op: Op) -> None:
    if op.kind == "mark":
        marks.append(op.data)
    elif op.kind == "sync":
        _sync(nodes, op.node)
    else:
        if op.kind == "add":
            nodes[op.data[1]] = _Node(directory=op.data[2])
        nodes[op.node].unsynced.append(op)


def _sync(nodes: dict[int, _Node], number: int) -> None:
    """Keep the content of a file or the names of a directory, and the way to it."""
    node = nodes[number]
    for op in node.unsynced:
        _apply(node, op)
    node.unsynced.clear()
    _sync_names(nodes, number, ("add", "rename"))


def _sync_names(nodes: dict[int, _Node], number: int, kinds: tuple[str, ...]) -> None:
    """Keep the names of a file or a directory, and those of the directories that lead to it."""
    for parent_number, parent in nodes.items():
        if not parent.directory:
            continue
        for op in [op for op in parent.unsynced if op.kind in kinds and op.data[1] == number]:
            _apply(parent, op)
            parent.unsynced.remove(op)
            _sync_names(nodes, parent_number, ("add",))


def _apply(node: _Node, op: Op) -> None:
    match op.kind:
        case "write":
            write(node.safe, op.place, op.data)
        case "truncate":
            truncate(node.safe, op.place)
        case "add":
            node.names[op.data[0]] = op.data[1]
        case "remove":
            node.names.pop(op.data[0], None)
        case "rename":
            node.names.pop(op.data[2], None)
            node.names[op.data[0]] = op.data[1]


def _left(nodes: dict[int, _Node], mode: Mode, dice: Random) -> dict[str, bytes]:
    share = {"forget": 0.0, "keep": 1.0, "tear": dice.choice((0.0, 0.5, 1.0))}[mode]
    files: dict[str, bytes] = {}

    def visit(number: int, path: str) -> None:
        node = nodes[number]
        if not node.directory:
            files[path] = _torn(node, share, dice, tear=mode == "tear")
            return
        kept = _Node(directory=True, names=dict(node.names))
        most = dice.randint(0, len(node.unsynced)) if mode == "tear" else None
        for op in node.unsynced[: 0 if mode == "forget" else most]:
            _apply(kept, op)
        for name, child in kept.names.items():
            visit(child, posixpath.join(path, name))

    visit(ROOT_NODE, "")
    return files


def _torn(node: _Node, share: float, dice: Random, *, tear: bool) -> bytes:
    """Return a file with a share of its unsynced writes, the last of them torn."""
    kept = [op for op in node.unsynced if dice.random() < share]
    left = _Node(safe=bytearray(node.safe))
    for op in kept[:-1]:
        _apply(left, op)
    for op in kept[-1:]:
        if op.kind == "write" and tear:
            sectors = dice.randint(0, -(-len(op.data) // SECTOR))
            op = op._replace(data=op.data[: sectors * SECTOR])
        _apply(left, op)
    return bytes(left.safe)


def write(content: bytearray, place: int, data: bytes) -> None:
    """Write into the content of a file."""
    if len(content) < place:
        content.extend(bytes(place - len(content)))
    content[place : place + len(data)] = data


def truncate(content: bytearray, size: int) -> None:
    """Shorten or lengthen the content of a file."""
    del content[size:]
    content.extend(bytes(size - len(content)))


def lay_out(files: dict[str, bytes], directory: Path) -> None:
    """Write the files of a cut into an empty directory."""
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


# -- the disk for a test -----------------------------------------------------------------------


def require_fuse() -> None:
    """Skip a test where the machine has no FUSE; fail in CI where it has, but lacks a part."""
    if not DEVICE.exists():
        pytest.skip(f"this machine has no {DEVICE}")
    require("fusermount3")
    if os.geteuid() != 0 and not os.access(DEVICE, os.W_OK):
        reason = f"{DEVICE} cannot be opened by this user"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


class Recorded:
    """A mounted disk, as a process of its own, until the block ends; then its recording."""

    def __init__(self, directory: Path) -> None:
        self.mount = directory / "disk"
        self.mount.mkdir(parents=True)
        self._recording = directory / "recording"
        command = (sys.executable, "-m", "tests.support.recorded_disk")
        command = (*command, str(self.mount), str(self._recording))
        self._part = Part(*command, directory=directory, FUSE_LIBRARY_NAME="fuse3")
        wait_until(lambda: self._mounted(), what="the disk to be mounted")

    def _mounted(self) -> bool:
        if self._part.process.poll() is not None:
            raise AssertionError(self._part.output)
        return self.mount.is_mount()

    def mark(self, text: str) -> None:
        """Note that something was acknowledged."""
        with (self.mount / MARKS).open("a") as file:
            file.write(text)

    def read(self) -> list[Op]:
        """Return what was asked for."""
        with self._recording.open("rb") as file:
            ops: list[Op] = []
            with contextlib.suppress(EOFError):
                while True:
                    ops.append(Op(*pickle.load(file)))
        return ops

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        umount = [shutil.which("fusermount3") or "fusermount3", "-u", "-z", str(self.mount)]
        subprocess.run(umount, check=True)
        self._part.process.wait(30)
