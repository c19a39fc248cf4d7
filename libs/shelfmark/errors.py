"""Failures a person can act on, each with its exit code.

0 done, 1 a bug, 2 wrong usage or settings, 3 data refused by a check, 4 an outside service failed.
"""


class ShelfmarkError(Exception):
    """Base: `str()` is what was wrong, where, and what to do, for people; no traceback is shown."""

    exit_code = 1


class UsageError(ShelfmarkError):
    """Wrong command line, settings, mapping or a missing input."""

    exit_code = 2


class DataRefused(ShelfmarkError):
    """A check refused the data: tables stay as they were."""

    exit_code = 3


class ServiceError(ShelfmarkError):
    """An outside service or device failed: try again later."""

    exit_code = 4
