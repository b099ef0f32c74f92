"""Tokenizers: text → token ids → text, the same in the job and in training code.

Each kind of tokenizer has its own module, and `registry` loads a tokenizer of any kind.
Nothing here reads or writes files: a tokenizer is built from a `TokenizerSpec` and the
bytes of its file. The libraries of a kind are imported when a tokenizer of that kind is
built.
"""
