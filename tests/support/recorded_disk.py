"""A file system in memory that records what it is asked to do; `forgetful_disk` cuts its power.

    FUSE_LIBRARY_NAME=fuse3 python -m tests.support.recorded_disk MOUNTPOINT RECORDING

A process of its own: a page of a mapped file that is waited for would block all threads of a test.
"""

import errno
import os
import pickle
import posixpath
import stat
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import mfusepy

from tests.support.forgetful_disk import MARKS, ROOT_NODE, truncate, write


@dataclass
class _Entry:
    """A file or a directory as programs see it."""

    number: int
    mode: int
    owner: tuple[int, int]
    data: bytearray = field(default_factory=bytearray)
    names: dict[str, "_Entry"] = field(default_factory=dict)
    changed_ns: int = field(default_factory=time.time_ns)


class Disk(mfusepy.Operations):
    """Files in memory; each change is recorded."""

    use_ns = True

    def __init__(self, recording: IO[bytes]) -> None:
        self._recording = recording
        self._root = _Entry(ROOT_NODE, stat.S_IFDIR | 0o755, (os.getuid(), os.getgid()))
        self._nodes = {ROOT_NODE: self._root}

    def init_with_config(self, _connection: Any, config: Any) -> None:
        config.use_ino = 1  # SQLite compares inodes
        config.hard_remove = 1  # without it, an open file is renamed where it is removed
        config.nullpath_ok = 1

    def destroy(self, _path: str) -> None:
        self._recording.flush()

    # -- names

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, Any]:
        node = self._node(path, fh)
        at = node.changed_ns
        return {
            "st_ino": node.number,
            "st_mode": node.mode,
            "st_size": len(node.data),
            "st_uid": node.owner[0],
            "st_gid": node.owner[1],
            "st_nlink": 1,
            "st_mtime": at,
            "st_ctime": at,
            "st_atime": at,
        }

    def readdir(self, path: str | None, fh: int) -> list[tuple[str, dict[str, int], int]]:
        found = {".": self._root, **self._node(path, fh).names}  # of ".", anything will do
        return [(n, {"st_ino": e.number, "st_mode": e.mode}, 0) for n, e in found.items()]

    def create(self, path: str, mode: int, _flags: int = 0) -> int:
        return self._add(path, stat.S_IFREG | (mode & 0o777)).number

    def mkdir(self, path: str, mode: int) -> int:
        self._add(path, stat.S_IFDIR | (mode & 0o777))
        return 0

    def unlink(self, path: str) -> int:
        parent, name = self._place(path)
        if name not in parent.names:
            raise mfusepy.FuseOSError(errno.ENOENT)
        del parent.names[name]
        self._record("remove", parent.number, data=(name,))
        return 0

    def rmdir(self, path: str) -> int:
        if self._find(path).names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        return self.unlink(path)

    def rename(self, old: str, new: str) -> int:
        (parent, name), (target, new_name) = self._place(old), self._place(new)
        if name not in parent.names:
            raise mfusepy.FuseOSError(errno.ENOENT)
        node = target.names[new_name] = parent.names.pop(name)
        if parent is target:
            self._record("rename", parent.number, data=(new_name, node.number, name))
        else:
            self._record("rename", target.number, data=(new_name, node.number, new_name))
            self._record("remove", parent.number, data=(name,))
        return 0

    # -- contents

    def open(self, path: str, _flags: int) -> int:
        return self._find(path).number

    def read(self, _path: str | None, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._nodes[fh].data[offset : offset + size])

    def write(self, _path: str | None, data: bytes, offset: int, fh: int) -> int:
        node = self._nodes[fh]
        if node is self._root.names.get(MARKS):
            self._record("mark", data=data.decode())
        else:
            self._record("write", fh, offset, data)
        write(node.data, offset, data)
        node.changed_ns = time.time_ns()
        return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> int:
        node = self._node(path, fh)
        self._record("truncate", node.number, length)
        truncate(node.data, length)
        node.changed_ns = time.time_ns()
        return 0

    def fallocate(self, path: str | None, _mode: int, offset: int, size: int, fh: int) -> int:
        return self.truncate(path, max(offset + size, len(self._nodes[fh].data)), fh)

    def fsync(self, _path: str | None, _data_only: int, fh: int) -> int:
        self._record("sync", fh)
        return 0

    def opendir(self, path: str) -> int:
        return self._find(path).number

    def fsyncdir(self, _path: str | None, _data_only: int, fh: int) -> int:
        self._record("sync", fh)
        return 0

    # -- what every file has

    def chmod(self, path: str, mode: int) -> int:
        node = self._find(path)
        node.mode = stat.S_IFMT(node.mode) | (mode & 0o777)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        node = self._find(path)
        node.owner = tuple(  # type: ignore[assignment]
            had if given in (-1, 2**32 - 1) else given
            for had, given in zip(node.owner, (uid, gid), strict=True)
        )
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        self._find(path).changed_ns = times[1] if times else time.time_ns()
        return 0

    def statfs(self, _path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 10**6, "f_bavail": 10**6}

    def _add(self, path: str, mode: int) -> _Entry:
        parent, name = self._place(path)
        number = len(self._nodes) + ROOT_NODE
        node = parent.names[name] = _Entry(number, mode, mfusepy.fuse_get_context()[:2])
        self._nodes[number] = node
        self._record("add", parent.number, data=(name, number, stat.S_ISDIR(mode)))
        return node

    def _node(self, path: str | None, fh: int | None) -> _Entry:
        return self._nodes[fh] if fh else self._find(path or "/")

    def _find(self, path: str) -> _Entry:
        node = self._root
        for name in path.split("/"):
            if name and name not in node.names:
                raise mfusepy.FuseOSError(errno.ENOENT)
            node = node.names[name] if name else node
        return node

    def _place(self, path: str) -> tuple[_Entry, str]:
        return self._find(posixpath.dirname(path)), posixpath.basename(path)

    def _record(self, kind: str, node: int = 0, place: int = 0, data: Any = None) -> None:
        pickle.dump((kind, time.time(), node, place, data), self._recording)


def main() -> None:
    """Mount the file system, and serve it until it is unmounted."""
    mountpoint, recording = sys.argv[1:]
    with Path(recording).open("wb") as file:
        mfusepy.FUSE(Disk(file), mountpoint, foreground=True, nothreads=True)


if __name__ == "__main__":
    main()
