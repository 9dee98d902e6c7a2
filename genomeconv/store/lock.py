"""One writer an output: a visible lock beside it that says who holds it.

The lock is a symbolic link whose target is the holder's description: made in one
atomic call that works on network file systems too, readable with ``ls -l``, and never
half-written. Where links are not possible it is a plain file with the same text.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
from pathlib import Path

from genomeconv.errors import LockedError
from genomeconv.store.disk import remove, storage_errors

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class Lock:
    """Exclusive right to write one output, from `acquire` to `release`.

    Parameters
    ----------
    path : Path
        The lock file.
    output : Path
        The output it guards, for messages.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path = path
        self.output = output
        self._text = ""
        self._pid = 0

    def acquire(self, *, break_lock: bool = False) -> None:
        """Take the lock, from a holder that died on this machine too.

        Parameters
        ----------
        break_lock : bool
            Take it also from a holder that cannot be checked from here.

        Raises
        ------
        LockedError
            Another process holds it, or may hold it.
        """
        text = _describe(os.getpid())
        for _ in range(10):
            with storage_errors(self.path, "locking"):
                if _create(self.path, text):
                    self._text, self._pid = text, os.getpid()
                    return
            holder = _read(self.path)
            if holder is None:
                continue
            if not (_is_dead(holder) or (break_lock and _is_elsewhere(holder))):
                raise LockedError(self._refusal(holder))
            self._take_away(holder)
        raise LockedError(f"{self.output} is contended by other runs: try again later")

    def held(self) -> bool:
        """Whether the lock is still this process's."""
        return self._pid == os.getpid() and _read(self.path) == self._text

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self.held():
            with contextlib.suppress(OSError):
                remove(self.path)
        self._text, self._pid = "", 0

    def _take_away(self, holder: str) -> None:
        """Remove the lock of a dead holder, and never one made in the meantime."""
        aside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            os.rename(self.path, aside)  # noqa: PTH104 - fault injection
        except FileNotFoundError:
            return
        found = _read(aside)
        if found is not None and found != holder:
            _create(self.path, found)
        remove(aside)

    def _refusal(self, text: str) -> str:
        holder = _parse(text)
        if holder is None:
            return (
                f"{self.output} is locked by an unknown process, says {self.path}: if "
                "no run is writing it, add --break-lock"
            )
        who = f"{holder['host']}:{holder['pid']}"
        if holder.get("job"):
            who += f" (Slurm job {holder['job']})"
        if holder["host"] == socket.gethostname():
            return f"{self.output} is being written by {who}: wait for it, or stop it"
        return (
            f"{self.output} is locked by {who}, on another machine: wait for that run, "
            "or, if it is over, add --break-lock"
        )


def _create(path: Path, text: str) -> bool:
    """Make the lock; False if there is one."""
    try:
        os.symlink(text, path)  # noqa: PTH211 - fault injection
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        return True
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    return True


def _read(path: Path) -> str | None:
    """Read who holds the lock, None if there is none."""
    try:
        return os.readlink(path)  # noqa: PTH115 - the target is text, no path
    except FileNotFoundError:
        return None
    except OSError:
        pass
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def _parse(text: str) -> dict[str, object] | None:
    """Holder as a mapping, None if the text is not one of ours."""
    try:
        holder = json.loads(text)
    except ValueError:
        return None
    if isinstance(holder, dict) and isinstance(holder.get("pid"), int):
        return holder if "host" in holder else None
    return None


def _describe(pid: int) -> str:
    """Write down who process `pid` is."""
    return json.dumps(
        {
            "host": socket.gethostname(),
            "pid": pid,
            "start": _start(pid),
            "job": os.environ.get("SLURM_JOB_ID", ""),
        }
    )


def _is_dead(text: str) -> bool:
    """Whether the holder surely is no more: same host, and no such process."""
    holder = _parse(text)
    if holder is None or holder["host"] != socket.gethostname():
        return False
    pid = holder["pid"]
    assert isinstance(pid, int)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # alive, under another user, who may be hidden from /proc
    started = _start(pid)
    return bool(started) and started != holder.get("start")


def _is_elsewhere(text: str) -> bool:
    """Whether nobody can tell from here if the holder is alive."""
    holder = _parse(text)
    return holder is None or holder["host"] != socket.gethostname()


def _start(pid: int) -> str:
    """When process `pid` started, which tells it from a later one with its number.

    Empty where that cannot be seen.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123
            boot = file.read(8)
    except OSError:
        shown = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        return shown.stdout.strip()
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    if fields[0] in (b"Z", b"X"):
        return "ended"
    return f"{boot}:{fields[19].decode()}"
