"""The dataset format, shared by the job that writes it and the reader.

File names, the record schema, the manifest, record framing and tokenizers, as plain
values and pure functions. Nothing here needs Beam or TensorFlow, or accesses files.
"""
