"""Refuses arguments that make no sense."""

from reader.contract.errors import UsageError


def require_positive(name: str, value: int) -> None:
    """Refuses a count below one, calling it by its argument's name."""
    if value < 1:
        raise UsageError(f"{name} must be at least 1, got {value}")
