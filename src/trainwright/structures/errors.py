"""Errors of data elements; each is also the built-in that callers catch, an assertion among them."""

from __future__ import annotations

from trainwright.base.errors import TrainwrightError


class FieldError(TrainwrightError, ValueError, AssertionError):
    """A value, or an index, that an element cannot take."""


class FieldTypeError(FieldError, TypeError):
    """One of a wrong type."""


class FieldNameError(TrainwrightError, AttributeError):
    """A name that an element keeps for itself, or that is taken by the other half of it."""


class MissingFieldError(TrainwrightError, KeyError):
    """A field that is not there."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr of the message
