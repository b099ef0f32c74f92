"""Tokenizers: text to ids and back, the same in the job and in training code.

A module for each kind, and `loading` to choose among them. Nothing is read or written
here: a tokenizer is made of a `TokenizerSpec` and of the bytes of its file. Libraries
that a kind needs are imported when a tokenizer of that kind is made.
"""
