"""The one error for mistakes of a user of gpt."""

from __future__ import annotations


class UserError(ValueError):
    """Something that the user gave is wrong. The message says: expected ..., got ...: do this."""
