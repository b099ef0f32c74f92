"""The position of a run while its batches are taken."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from reader.contract.checks import whole_number
from reader.contract.errors import UsageError
from reader.schedule.windows import Windows


class RunPosition(Protocol):
    """Position of a run at each step."""

    @property
    def batch_size(self) -> int:
        """Number of examples per step, over all hosts."""

    @property
    def begin_step(self) -> int:
        """Index of the first step."""

    @property
    def endless(self) -> bool:
        """Whether iterators are endless; each one then begins at `begin_step`."""

    def length(self, iterator: int = 0) -> int | None:
        """Returns the number of batches of an iterator; None if it is endless."""

    def example_at(self, step: int) -> int:
        """Returns the position of the run before a step, in examples."""


class Resumable:
    """Batches whose position `state` reports.

    Attributes:
        position: Position of the run at each step.
        identity: Settings and records that determine the order of the run, as JSON
            values.
    """

    position: RunPosition
    identity: Mapping[str, Any]
    _windows: Windows
    # Batches taken, by iterator index.
    _taken: dict[int, int]
    # Position as first planned, from which a loaded state may differ.
    _planned: RunPosition | None = None

    def _set_run(
        self, position: RunPosition, identity: Mapping[str, Any], windows: Windows
    ) -> None:
        self.position, self.identity = position, identity
        self._windows, self._taken = windows, {}
        if self._planned is None:
            self._planned = position

    def note_taken(self, iterator: int, num: int) -> None:
        """Adds to the number of batches taken from an iterator.

        Args:
            iterator: Index of the iterator, from 0.
            num: Number of batches to add; may be negative.
        """
        self._taken[iterator] = self._taken.get(iterator, 0) + num

    @property
    def latest(self) -> int:
        """Index of the latest iterator, from 0; -1 before the first."""
        return self._windows.num_iterators - 1

    @property
    def next_length(self) -> int | None:
        """Number of batches of the next iterator; None for endless ones."""
        return self.position.length(self.latest + 1)

    def __len__(self) -> int:
        """Returns the number of batches of the first iterator, as it was planned.

        A loaded state does not change it: trainers compare it with the number of
        batches that an epoch has had, which includes those before the checkpoint.
        """
        length = None if self._planned is None else self._planned.length()
        if length is None:
            raise TypeError(
                "endless batches have no length (epochs=None): reader.steps_per_epoch "
                "returns the number of batches per epoch"
            )
        return length

    def state_dict(self) -> dict[str, Any]:
        """Returns the state after the batches that were taken so far.

        It is what `state` returns for their number, counted from step 0.

        Raises:
            UsageError: An iterator was left before its end and another one started.
        """
        num = sum(self._taken.values())
        if self.position.endless:
            num = self._taken.get(self.latest, 0)
        return state(self, self.position.begin_step + num)

    def is_at(self, step: int) -> bool:
        """Returns whether the latest iterator can be at a step.

        Returns False if an earlier iterator was left before its end. One case is not
        detected: Keras left an iterator that had been read ahead to its end, and the
        step is the last one of the next iterator.

        Args:
            step: Number of steps that the run has taken.
        """
        if self.position.endless:
            return True
        ahead = step - self.position.begin_step
        iterator, begun = 0, self._windows.num_iterators
        while iterator < begun:
            length = self.position.length(iterator) or 0
            if ahead < length:
                break
            ahead, iterator = ahead - length, iterator + 1
        left = [
            before
            for before, taken in self._taken.items()
            if before < begun - 1 and taken < (self.position.length(before) or 0)
        ]
        return begun <= iterator + 1 and not left and not self._windows.left_early


class ResumableIterator(Iterator[Any]):
    """Iterator over batches, whose state is whether it has ended.

    A `StatefulDataLoader` of torchdata keeps this state beside that of the batches. A
    state of the batches alone does not distinguish the end of an epoch, at which the
    loop over the resumed iterator is empty, from the beginning of the next epoch.
    """

    def __init__(self, items: Iterator[Any], batches: Resumable) -> None:
        """Wraps an iterator.

        Args:
            items: Iterator that starts the next iterator of `batches` with its first
                item, and has one item per batch.
            batches: Batches that are iterated over.
        """
        self._items, self._batches = items, batches
        # None before the first batch, and of endless iterators.
        self._num_left: int | None = None

    def __next__(self) -> Any:
        """Returns the next item."""
        item = next(self._items)
        if self._num_left is None:
            self._num_left = self._batches.position.length(self._batches.latest)
        if self._num_left is not None:
            self._num_left -= 1
        return item

    def state_dict(self) -> dict[str, bool]:
        """Returns whether all batches were taken, as `{"ended": bool}`."""
        return {"ended": self._num_left == 0}

    def load_state_dict(self, state_dict: Mapping[str, bool]) -> None:
        """Ends this iterator, which has not begun, if the one of the state had ended.

        Args:
            state_dict: Dictionary that `state_dict` returned.
        """
        if state_dict["ended"]:
            self._items, self._num_left = iter(()), 0


def state(batches: Any, step: int) -> dict[str, Any]:
    """Returns a checkpoint of the input pipeline, as a small JSON-serializable dict.

    The state is the same on every host, and for `load` and `stream`. Either resumes
    from it with `resume=state`, if needed with another number of hosts or another batch
    size.

        state = reader.state(batches, step)
        checkpoint.write_text(json.dumps(state))

    Args:
        batches: What `reader.load` or `reader.stream` returned, or
            `reader.for_captioning` or `reader.for_retrieval` made of it.
        step: Number of steps that the run has taken, which is the trainer's global
            step. It includes the steps before `start_step` or `resume`.

    Returns:
        A dictionary with the step, the position in examples, and the settings that
        determine the order.

    Raises:
        UsageError: `batches` is something else, `step` is before the first step of
            `batches`, or an iterator over `batches` was left before its end.
    """
    if not isinstance(batches, Resumable):
        raise UsageError(
            "state needs the batches that reader.load returned, got "
            f"{type(batches).__name__}: keep those as well as what you derive from them"
        )
    position, step = batches.position, whole_number("step", step)
    if step < position.begin_step:
        raise UsageError(
            f"step must be at least {position.begin_step}, the first step of these "
            f"batches, got {step}"
        )
    if not batches.is_at(step):
        raise UsageError(
            f"the position of step {step} is unknown: an iterator over these batches "
            "was left before its end and another one was started, for example by "
            "next(iter(batches)), or by Keras under a tf.distribute strategy, which "
            "takes a batch before training. Load with epochs=None, where every "
            "iterator begins at the same step, or iterate only once"
        )
    return {**batches.identity, "step": step, "examples": position.example_at(step)}
