"""The errors of making pixels."""


class PixelsError(ValueError):
    """An image that does not decode.

    Attributes:
        index: Index of the image among those of the call.
    """

    def __init__(self, index: int, message: str) -> None:
        """Initializes the exception.

        Args:
            index: Index of the image among those of the call.
            message: What is wrong with the image.
        """
        super().__init__(index, message)
        self.index = index

    def __str__(self) -> str:
        """Returns what is wrong with the image."""
        return str(self.args[1])


class PixelWorkerError(RuntimeError):
    """A pixel worker died or failed, or the workers are closed.

    Attributes:
        status: Exit status of the worker, as of `subprocess`; None if none died.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        """Initializes the exception.

        Args:
            message: What happened.
            status: Exit status of a worker that died.
        """
        super().__init__(message)
        self.status = status
