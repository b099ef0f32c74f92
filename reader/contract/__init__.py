"""The facts that the writing and the reading side share.

No Beam, no TensorFlow and no input or output in here: names of files, the schema, the
manifest, record framing and tokenizers, as plain values and pure functions.
"""
