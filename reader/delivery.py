"""Records → batches as they are delivered: made ahead, within what may be used."""

import tensorflow as tf

from reader.batches import make_batches
from reader.budget import calls_at_a_time
from reader.config.read_config import ReadConfig
from reader.datasets.record_schema import Content
from reader.decode.examples import make_examples


def deliver(
    records: tf.data.Dataset, content: Content, config: ReadConfig, length: int | None
) -> tf.data.Dataset:
    """Returns a Dataset of batches.

    Args:
        records: `Records`, a chunk at a time.
        content: What they hold.
        config: How to read.
        length: How many batches there are; None if TensorFlow should not count on any
            number.
    """
    calls = calls_at_a_time(config)
    examples = make_examples(records, content, config, calls.chunks)
    batches = make_batches(examples, content, config, calls.batches)
    if length is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(length))
    batches = batches.prefetch(config.resources.prefetch)
    return batches.with_options(_options(config))


def _options(config: ReadConfig) -> tf.data.Options:
    options = tf.data.Options()
    # Each host has its share already.
    policy = tf.data.experimental.AutoShardPolicy.OFF
    options.experimental_distribute.auto_shard_policy = policy
    options.autotune.enabled = False  # See calls_at_a_time.
    if config.resources.num_threads is not None:
        options.threading.private_threadpool_size = config.resources.num_threads
    return options
