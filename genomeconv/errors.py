"""Errors a user meets: one line of text and the exit code that goes with it.

Codes follow sysexits.h, so that job scripts can tell bad data from a full disk.
"""

from __future__ import annotations


class GenomeconvError(Exception):
    """Base of every error that is the user's to see, never a bug of ours.

    Attributes
    ----------
    exit_code : int
        What the process returns when the error ends it.
    """

    exit_code = 70


class UsageError(GenomeconvError):
    """The command line or the arguments contradict themselves."""

    exit_code = 2


class DataError(GenomeconvError):
    """The input is there but is not what it has to be."""

    exit_code = 65


class InputMissingError(GenomeconvError):
    """The input is not there, or is not a file."""

    exit_code = 66


class DeviceError(GenomeconvError):
    """The device asked for is absent or cannot do the work."""

    exit_code = 69


class NonFiniteError(GenomeconvError):
    """A result is NaN, infinite, or outside the range of the stored type."""

    exit_code = 70


class CannotCreateError(GenomeconvError):
    """The output may not or cannot be made where it was asked for."""

    exit_code = 73


class StorageError(GenomeconvError):
    """Reading or writing failed: disk full, device error, closed pipe."""

    exit_code = 74


class LockedError(GenomeconvError):
    """Another run holds the output; trying again later can work."""

    exit_code = 75


class PermissionDeniedError(GenomeconvError):
    """The file system refuses access."""

    exit_code = 77


class ModelError(GenomeconvError):
    """A model folder, its weights or a configuration is not usable."""

    exit_code = 78
