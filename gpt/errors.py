"""The one error that users of gpt meet: what was expected, what was got, what to do."""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user gave is wrong; the message says what was expected, what was got, what to do."""
