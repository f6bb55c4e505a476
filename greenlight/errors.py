"""Every error that Greenlight raises on purpose.

Each message says what happened, the value against the limit, where, and what to do next. A "no" of a gate or of a
contract is a value (a verdict), not an error; the classes here are for what stops the work.

::

    GreenlightError
    ├── UsageError          the caller asked for something that cannot be done      exit 2
    │   ├── ConfigError     params.yaml, a setting or the environment is wrong
    │   └── NotFound        no such run, version or period
    ├── DataRejected        the contract said no, and a later stage was asked to run  exit 3
    ├── StageFailed         a stage ended without its answer
    ├── PreflightFailed     a built bento does not answer as its model does
    ├── StorageFailed       the disk is full, read-only or broken
    └── AdapterError        an outside thing failed; ``retryable`` says whether waiting can help
        ├── GitError
        ├── DvcError
        ├── BentoError
        ├── EdgeError
        ├── SigningError    a model could not be signed
        ├── ServerError     the supervisor or one of the processes under it
        └── OrchestratorError
"""

from __future__ import annotations

import errno
import os

STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # no bug of ours, whoever wrote the file


class GreenlightError(Exception):
    """Root of all errors raised on purpose.

    Parameters
    ----------
    what : str
        One sentence: what happened, with the value and the limit where there is one.
    where : str, optional
        File, key, address or stage that it happened at.
    todo : str, optional
        What the reader can do next.
    """

    exit_code = 1
    retryable = False

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        text = f"{self.what} ({self.where})" if self.where else self.what
        return f"{text}. Next: {self.todo}" if self.todo else text


class UsageError(GreenlightError):
    """The caller asked for something that cannot be done as asked."""

    exit_code = 2


class ConfigError(UsageError):
    """params.yaml, a setting or the environment is wrong."""


class NotFound(UsageError):
    """No run, version or period of that name."""


class DataRejected(GreenlightError):
    """The contract said no and a stage behind it was asked to run."""

    exit_code = 3


class StageFailed(GreenlightError):
    """A stage ended without its answer."""


class PreflightFailed(GreenlightError):
    """A built bento does not answer as its model does."""


class StorageFailed(GreenlightError):
    """The disk is full, read-only or broken."""


class AdapterError(GreenlightError):
    """Something outside Greenlight failed."""


class GitError(AdapterError):
    """Git refused or is missing."""


class DvcError(AdapterError):
    """DVC, its cache or its remote failed."""


class BentoError(AdapterError):
    """A bento could not be built or found."""


class SigningError(AdapterError):
    """A key cannot be used, or a model could not be signed."""


class EdgeError(AdapterError):
    """Envoy did not take a configuration or does not answer."""


class ServerError(AdapterError):
    """The supervisor, or a process under it, did not start or stop as asked."""


class OrchestratorError(AdapterError):
    """Prefect's server or worker did not answer as expected."""


def storage(exc: OSError) -> StorageFailed:
    """What the operating system said of a file, as one of ours."""
    said, todo = {
        errno.ENOSPC: ("the disk is full", "free space (df -h), then run again"),
        errno.EDQUOT: ("the quota is used up", "free space (quota), then run again"),
        errno.EROFS: ("the file system is read-only", "mount it for writing (findmnt, dmesg), then run again"),
        errno.EACCES: ("not allowed", "check the rights of the file named, then run again"),
        errno.EIO: ("the disk fails", "look at the disk (dmesg), then run again"),
    }.get(exc.errno or 0, (exc.strerror or str(exc), "see the message, then run again"))
    return StorageFailed(said, where=str(exc.filename or ""), todo=todo)


def disk_fault(exc: BaseException) -> StorageFailed | None:
    """The fault of a disk that is behind an exception; None where there is none.

    Libraries wrap what the operating system said, or keep its words alone.
    """
    seen: list[BaseException] = []
    while exc not in seen:
        if isinstance(exc, OSError) and exc.errno in STORAGE:
            return storage(exc)
        code = next((code for code in STORAGE if os.strerror(code) in str(exc)), 0)
        if code and isinstance(exc, Exception):
            return storage(OSError(code, os.strerror(code)))
        seen.append(exc)
        exc = exc.__cause__ or exc.__context__ or exc
    return None
