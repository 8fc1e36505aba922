"""Streams and signals of the process: closed streams and pipes, full disks, termination."""

import io
import os
import signal
import sys
from typing import TextIO


class Output(io.TextIOWrapper):
    """
    Output stream that survives a closed pipe, as of ``head``, and a full disk.

    The command finishes its work; the remaining output is dropped.
    """

    failure: OSError | None = None
    """Error of an incomplete output; None if it is complete, or if the reader closed the pipe."""

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
        """Redirect the stream to the null device, with the content of its buffer."""
        if not isinstance(error, BrokenPipeError):
            self.failure = error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Open the three standard streams for any text, and turn SIGTERM into an exception, which removes partial files."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # Otherwise the next opened file, perhaps the user's, would become the standard output of C libraries.
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 (for the life of the process)
    sys.stdout = sys.__stdout__ = _output(1, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _output(2, sys.stderr)  # type: ignore[misc]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def settle(code: int) -> int:
    """
    Flush the output.

    :param code: exit code of the command
    :return: exit code of the process: 2 in place of 0 if the output could not be written
    """
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        print(f"sb3-spiking: error: standard output: {failure.strerror}", file=sys.stderr)
        return code or 2
    return code


def _output(descriptor: int, stream: TextIO | None) -> Output:
    """Return a stream for a descriptor, with the settings of Python's own, which may be missing."""
    if not isinstance(stream, io.TextIOWrapper):
        return Output(open(descriptor, "wb", closefd=False), encoding="utf-8", errors="backslashreplace")
    manner = {name: getattr(stream, name) for name in ("encoding", "line_buffering", "write_through")}
    return Output(stream.detach(), errors="backslashreplace", **manner)
