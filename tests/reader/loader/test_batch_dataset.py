"""The private names of TensorFlow that `Batches` relies on are still what they were."""

from importlib.metadata import version

import pytest
import tensorflow as tf

from reader.loader.batch_dataset import TENSORFLOW_VERSION


class Wrapped(tf.data.Dataset):
    """A Dataset made of the variant of another, as `Batches` is."""

    def __init__(self, dataset: tf.data.Dataset) -> None:
        self._dataset = dataset
        super().__init__(dataset._variant_tensor)

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._dataset]

    @property
    def element_spec(self):
        return self._dataset.element_spec


def test_they_were_tried_with_the_version_that_is_installed():
    assert version("tensorflow").startswith(f"{TENSORFLOW_VERSION}.")


def test_a_dataset_is_made_of_the_variant_of_another():
    wrapped = Wrapped(tf.data.Dataset.range(4).batch(2))
    assert [x.tolist() for x in wrapped.as_numpy_iterator()] == [[0, 1], [2, 3]]
    assert [int(x) for x in wrapped.unbatch().map(lambda x: x + 1)] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["_variant_tensor_attr", "_options_attr"])
def test_the_constructor_sets_what_is_built_when_it_is_asked_for(name):
    assert name in vars(Wrapped(tf.data.Dataset.range(1)))


def test_an_iterator_takes_a_subclass_of_its_own_class():
    iterator = iter(tf.data.Dataset.range(2))
    subclass = type("Named", (type(iterator),), {})
    iterator.__class__ = subclass
    assert isinstance(iterator, subclass)
    assert [int(x) for x in iterator] == [0, 1]
