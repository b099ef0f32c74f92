"""Calls of Python by TensorFlow: all of them end before Python does.

tests/behavior/test_load_ends.py has the programs that would hang otherwise.
"""

import subprocess
import sys
from pathlib import Path

from patience import PATIENCE_SECONDS

import reader
from reader.records import python_calls

READER = Path(reader.__file__).parent


def test_tensorflow_calls_python_in_no_other_way():
    for path in READER.rglob("*.py"):
        code = path.read_text()
        if path != Path(python_calls.__file__):
            assert "tf.numpy_function" not in code and "py_function" not in code, path
        num = code.count("Dataset.from_generator(")
        assert code.count("return generate_python(") == num, path


CODE = """
import atexit, threading, time
import numpy as np
import tensorflow as tf
from reader.records import python_calls
from reader.records.python_calls import call_python, ending, generate_python

def double(x):
    time.sleep(0.1)
    return 2 * x

def begin():
    return generate_python(iter(range(10**9)))

def doubled(x):
    return call_python(double, [x], tf.int64)

numbers = tf.data.Dataset.range(10**9).map(doubled, num_parallel_calls=2).prefetch(2)
assert list(numbers.take(3).as_numpy_iterator()) == [0, 2, 4]
spec = tf.TensorSpec((), tf.int64)
generated = tf.data.Dataset.from_generator(begin, output_signature=spec)
iterators = iter(generated), iter(numbers)

def at_end():  # After the calls that had begun.
    assert ending()
    for iterator in iterators:
        while True:
            try:
                next(iterator)
            except StopIteration:
                print("end")
                break
            except tf.errors.InvalidArgumentError as error:
                assert "StopIteration" in error.message
                print("refused")
                break
    # Python ends next, so the calls asked for ahead must have been refused too.
    python_calls._calls.end()

# What is registered first runs last.
import weakref
weakref.finalize(double, at_end)
for iterator in iterators:
    next(iterator)
"""


def test_calls_are_refused_when_python_ends():
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "end\nrefused\n"
