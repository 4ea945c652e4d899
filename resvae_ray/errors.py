"""Four exceptions under one base. The command line turns each into one line and its exit code."""


class ResVAERayError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 1


class JobError(ResVAERayError):
    """The work itself failed: a search in which every trial failed, a diverged training, a lost worker."""


class UsageError(ResVAERayError, ValueError):
    """An invalid argument or configuration."""

    exit_code = 2


class DataError(ResVAERayError, ValueError):
    """A file violates its format; the message names file, row and column."""

    exit_code = 3


class BadFileError(DataError):
    """One of several files cannot be read; the others do not depend on it."""


class Interrupted(ResVAERayError):
    """The user stopped the work; the message says how to resume it."""

    exit_code = 130


def first_line(error: BaseException) -> str:
    """The first non-blank line of the error's message; without a message, the name of its type."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def system_line(error: OSError, place: object = "the system") -> str:
    """The system error as one line with its file, or with `place` if it names no file."""
    return f"{error.filename or place}: {error.strerror or error}"


def in_words(error: Exception) -> tuple[str, str]:
    """An error as it is sent between processes: the name of one of these exceptions, and the message."""
    if isinstance(error, ResVAERayError):
        return type(error).__name__, str(error)
    kind, line = type(error).__name__, first_line(error)
    return JobError.__name__, line if line == kind else f"{kind}: {line}"
