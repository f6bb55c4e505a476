"""DVC's many exceptions, raised or only logged, as one of ours."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from greenlight.errors import DvcError

# A network or a server that is away and may come back: by class where a vendor has its own, by errno elsewhere.
UNREACHABLE = {
    "ConnectionError",
    "TimeoutError",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "gaierror",
}
UNREACHABLE_CODES = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT}
NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Listener(logging.Handler):
    """Keeps the exceptions that DVC logs instead of raising them."""

    def __init__(self, heard: list[BaseException]) -> None:
        super().__init__(logging.ERROR)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exception of a record."""
        if record.exc_info and record.exc_info[1] is not None:
            self.heard.append(record.exc_info[1])


def translate(exc: Exception, doing: str, where: Path, heard: Sequence[BaseException] = ()) -> DvcError:
    """DVC's many exceptions as one of ours: what, where, what next.

    Parameters
    ----------
    heard : sequence of BaseException
        What DVC logged on the way; its own exception then only counts the files that failed.
    """
    chain = _causes(exc) + [cause for first in heard[:1] for cause in _causes(first)]
    text = next((str(e) for e in chain if str(e)), type(exc).__name__)
    text = _COLOUR.sub("", text).replace("\n", " ").split(" <https", 1)[0]
    if heard and str(heard[0]):
        text = f"{text}: {heard[0]}"
    names = {type(error).__name__ for error in chain}
    codes = {error.errno for error in chain if isinstance(error, OSError)}
    unreachable = bool(names & UNREACHABLE or codes & UNREACHABLE_CODES)
    todo = "see the message above; nothing was recorded"
    if errno.ENOSPC in codes or errno.EDQUOT in codes:
        text, todo = f"the disk is full: {text}", "free space (df -h), then run again: nothing was recorded"
    elif errno.EROFS in codes:
        text, todo = f"the file system is read-only: {text}", "mount it for writing (findmnt, dmesg), then run again"
    elif errno.EIO in codes:
        text, todo = f"the disk fails: {text}", "look at the disk (dmesg), then run again: nothing was recorded"
    elif any(isinstance(error, PermissionError) for error in chain):
        text, todo = f"not allowed: {text}", "check the rights of the folder named, then run again"
    elif names & NO_CREDENTIALS or "Unable to locate credentials" in text:
        todo = "give DVC its credentials, in .dvc/config.local or the environment: docs/storage.md"
    elif "LockError" in names:
        todo = "another DVC command works in this folder; wait for it"
    elif "CheckoutError" in names or "FileMissingError" in names:
        text = f"neither the cache nor the remote holds it: {text}"
        todo = "dvc push where it was made, or point the remote to where it is (dvc remote list)"
    elif unreachable or doing == "push":
        todo = "check the remote (dvc remote list, dvc push -v), then run again: nothing was recorded"
    found = DvcError(f"dvc {doing} failed: {text}", where=str(where), todo=todo)
    found.retryable = unreachable or "LockError" in names
    return found


def _causes(exc: BaseException) -> list[BaseException]:
    chain = [exc]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    return chain


@contextmanager
def quiet(heard: list[BaseException]) -> Iterator[None]:
    """Keep DVC's hints ("git add dvc.lock") and its line per file that failed out of the run's log.

    Errors come as exceptions; why a file could not be copied DVC only logs, so that is put into `heard`.
    """
    from dvc.ui import ui

    loggers = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    write = ui.write
    for logger in loggers:
        logger.handlers, logger.propagate = [Listener(heard)], False
    ui.write = lambda *_, **__: None
    try:
        yield
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        ui.write = write
