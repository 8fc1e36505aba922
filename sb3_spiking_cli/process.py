"""The streams and signals of a command's process: closed streams, readers that leave, a full disk, a kill."""

import io
import os
import signal
import sys
from typing import TextIO


class Output(io.TextIOWrapper):
    """
    An output stream whose reader may leave, as ``head`` does, and whose disk may be full.

    The command goes on and finishes its work, and is heard no more.
    """

    failure: OSError | None = None
    """Why not everything was written; None if it was, or if nobody reads it."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._silence(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._silence(error)

    def _silence(self, error: OSError) -> None:
        """Send everything to nowhere from now on, and what is buffered as well."""
        if not isinstance(error, BrokenPipeError):
            self.failure = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Give the process three open streams that can write any text, and let SIGTERM clean up what is half-written."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Or the next file that is opened, of the user perhaps, would be the standard output of C libraries.
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 (for the life of the process)
    sys.stdout = sys.__stdout__ = _output(1, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _output(2, sys.stderr)  # type: ignore[misc]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def settle(code: int) -> int:
    """
    Write out what is buffered.

    :param code: the exit code
    :return: the exit code: 2 in place of 0 where the output could not be written
    """
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        print(f"sb3-spiking: error: standard output: {failure.strerror}", file=sys.stderr)
        return code or 2
    return code


def _output(descriptor: int, stream: TextIO | None) -> Output:
    """Return a stream for a descriptor, in the manner of Python's own, which may be missing."""
    if not isinstance(stream, io.TextIOWrapper):
        return Output(open(descriptor, "wb", closefd=False), encoding="utf-8", errors="backslashreplace")
    manner = {name: getattr(stream, name) for name in ("encoding", "line_buffering", "write_through")}
    return Output(stream.detach(), errors="backslashreplace", **manner)
