"""`reader.load`: wires shuffle, records and decode into a tf.data.Dataset."""
