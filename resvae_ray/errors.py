"""What can go wrong, as four exceptions under one base. The command line turns each into one line and its exit code."""


class ResVAERayError(Exception):
    """Base of all errors that this package raises on purpose."""

    exit_code = 1


class JobError(ResVAERayError):
    """The work itself failed: a search in which every trial failed, a diverged training, a lost worker."""


class UsageError(ResVAERayError, ValueError):
    """An argument or a configuration that cannot be meant."""

    exit_code = 2


class DataError(ResVAERayError, ValueError):
    """A file that does not hold what its format promises; the message names file, row and column."""

    exit_code = 3


class Interrupted(ResVAERayError):
    """The user stopped the work; the message says how to resume it."""

    exit_code = 130
