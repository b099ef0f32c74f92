"""Processes that read batches: what they start, hold and give back while they live."""

import pytest
from patience import PATIENCE_SECONDS, SOON_SECONDS

# Once in every run of the tests, and twenty times with `pytest -m soak`.
repeated = pytest.mark.parametrize(
    "times", [1, pytest.param(20, marks=pytest.mark.soak)]
)

BEGIN = f"SOON_SECONDS = {SOON_SECONDS}"
BEGIN += """
import gc, os, random, shutil, signal, subprocess, sys, tempfile, threading, time
import numpy as np
import psutil
import tensorflow as tf
import reader

ROOM = tempfile.mkdtemp()
tempfile.tempdir = ROOM

def load(**more):
    settings = {"split": "train", "batch_size": 8, "image_size": 32, "epochs": None}
    return reader.load(sys.argv[1], **{**settings, "num_threads": 2, **more})

def take(batches, num=3):
    iterator = iter(batches)
    return [next(iterator) for _ in range(num)]

def workers():
    return psutil.Process().children()

def held():
    with open("/proc/self/maps") as file:
        maps = file.read()
    assert "/dev/shm" not in maps
    files = [name for name in os.listdir(ROOM) if "autograph" not in name]
    num_fds, num_maps = len(os.listdir("/proc/self/fd")), maps.count("memfd:diptych")
    return len(workers()), threading.active_count(), num_fds, num_maps, files

def settle(most=SOON_SECONDS, collect=gc.collect):
    collect()
    begin = time.monotonic()
    while (now := held()) != before:
        assert time.monotonic() - begin < most, (now, before)
        time.sleep(0.01)
        tf.constant(0)  # TensorFlow lets go of arrays as it lets go of a tensor.

take(load())  # TensorFlow opens what it keeps open.
gc.collect()
while workers() or threading.active_count() > 1: time.sleep(0.01)
before = held()
times = int(sys.argv[2])
"""

END = """
settle()
shutil.rmtree(ROOM)
print("done")
"""


@pytest.fixture
def run(scripts, dataset):
    def run(code: str, times: int = 1) -> None:
        patience = PATIENCE_SECONDS + 3 * times
        code = f"{BEGIN}\n{code}\n{END}"
        ended = scripts.run(code, dataset, times, patience=patience)
        ended.check(seconds=patience)
        assert ended.out == "done\n", ended

    return run


@repeated
def test_nothing_is_left_of_an_iterator(run, times):
    run(
        """
def train():
    for batch in load(): raise ValueError

def read(seed):
    for number, _ in enumerate(load(seed=seed)):
        if number == 20: break

def end_of_epoch(): assert len(list(load(epochs=1))) > 1
def end_of_epochs(): assert len(list(load(epochs=3))) > 3
def several_iterators():
    batches = load(epochs=1)
    for _ in range(3): assert len(list(batches)) > 1
def left_early(): take(load())
def left_with_prefetch(): take(load(prefetch=8).prefetch(4))
def left_by_take(): assert len(list(load(prefetch=8).take(3).prefetch(2))) == 3
def alternately():
    kept = [iter(load(seed=seed)) for seed in range(3)]
    for _ in range(9): [next(iterator) for iterator in kept]
def other_processes():
    for batch in load():
        if subprocess.run(["true"]).returncode == 0: break
def as_numpy(): take(reader.as_numpy(load()))
def as_torch(): take(reader.as_torch(load()))
def as_jax(): take(reader.as_jax(load()))
def raised():
    try: train()
    except ValueError: pass
def in_threads():
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

for _ in range(times // 12):
    for end in (
        end_of_epoch, end_of_epochs, several_iterators, left_early, left_with_prefetch,
        left_by_take, alternately, other_processes, as_numpy, as_torch, as_jax, raised,
        in_threads,
    ):
        end()
        settle()
""",
        times * 12,
    )


@pytest.mark.slow
def test_a_cell_may_be_run_again_and_again(run):
    run("""
for seed in range(20):
    batches = load(seed=seed)
    for number, batch in enumerate(batches):
        if number == 3: break
    if seed == 0: first = held()
    assert len(workers()) == 2 and held() == first, (held(), first)
del batches, batch
""")


def test_a_hundred_kept_batches_stay_valid_in_bounded_memory(run):
    run("""
process = psutil.Process()
iterator = iter(load(image_size=224, dtype="uint8"))
kept = [next(iterator)["image"]]
size, copies = process.memory_info().rss, [kept[0].numpy().copy()]
for _ in range(99):
    kept.append(next(iterator)["image"])
    copies.append(kept[-1].numpy().copy())
for batch, copy in zip(kept, copies):
    np.testing.assert_array_equal(batch, copy)
assert process.memory_info().rss - size < 2.2 * 100 * copies[0].nbytes
del kept, copies, batch, copy
for _ in range(50): next(iterator)
assert process.memory_info().rss - size < 40e6
del iterator
""")


@repeated
@pytest.mark.parametrize("num_workers", [2, 8])
def test_the_death_of_a_worker_is_an_error_that_names_it(run, times, num_workers):
    run(
        f"""
from reader.pixels.errors import PixelWorkerError
for _ in range(times):
    iterator = iter(load(num_threads={num_workers}))
    next(iterator)
    pid = random.choice(workers()).pid
    begin = []
    def kill():
        begin.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
    killer = threading.Timer(random.random() / 2, kill)
    killer.start()
    try:
        while True: next(iterator)
    except PixelWorkerError as error:
        assert str(error) == "a pixel worker died of SIGKILL", error
        assert time.monotonic() - begin[0] < SOON_SECONDS
    killer.join()
    del iterator
    settle()
""",
        times,
    )


def test_an_error_keeps_nothing_until_the_next_garbage_collection(run):
    run("""
from reader.pixels.errors import PixelWorkerError
gc.disable()
iterator = iter(load())
next(iterator)
os.kill(workers()[0].pid, signal.SIGKILL)
try:
    while True: next(iterator)
except PixelWorkerError: pass
else: assert False
del iterator
settle(collect=lambda: None)
gc.enable()
""")


def test_a_worker_that_is_stopped_and_not_continued_is_an_error(run):
    run("""
from reader.pixels.errors import PixelWorkerError
iterator = iter(load())
next(iterator)
pid = random.choice(workers()).pid
os.kill(pid, signal.SIGSTOP)
continued = threading.Timer(0.3, os.kill, (pid, signal.SIGCONT))
continued.start()
for _ in range(30): next(iterator)
continued.join()
os.kill(pid, signal.SIGSTOP)
begin = time.monotonic()
try:
    while True: next(iterator)
except PixelWorkerError as error:
    assert str(error) == "a pixel worker was stopped by a signal and not continued"
assert time.monotonic() - begin < SOON_SECONDS
del iterator
settle()
iterator = iter(load())
next(iterator)
os.kill(workers()[0].pid, signal.SIGSTOP)
del iterator
settle()
""")


@repeated
def test_children_that_are_forked_end_and_leave_the_workers_alone(run, times):
    run(
        """
iterator = iter(load())
for number in range(times):
    next(iterator)
    child = os.fork()
    if not child:
        if number % 2: del iterator
        gc.collect()
        sys.exit(5)
    next(iterator)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert len(workers()) == 2
    next(iterator)
del iterator
""",
        times,
    )


def test_what_a_forked_child_may_read(run):
    run("""
iterator = iter(load())
next(iterator)
for way in range(3):
    child = os.fork()
    if not child:
        try:
            if way == 0: reader.open(sys.argv[1], split="train")[3]
            elif way == 1: next(iterator)
            else: take(load())
        except ValueError as error:
            assert "forked" in str(error), error
            os._exit(way)
        os._exit(0 if way == 0 else 9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == way
for _ in range(9): next(iterator)
del iterator
""")


def test_a_child_that_is_forked_before_the_first_batch_reads(scripts, dataset):
    code = (
        BEGIN.partition("take(load())")[0]
        + """
import reader.loader.load
child = os.fork()
assert len(take(load())) == 3
if child: assert os.waitpid(child, 0)[1] == 0
print("read")
"""
    )
    ended = scripts.run(code, dataset)
    ended.check()
    assert ended.out == "read\n" * 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_works_while_batches_are_read(run, method):
    run(f"""
import multiprocessing
del __file__  # Children need not import it.
iterator = iter(load())
next(iterator)
context = multiprocessing.get_context("{method}")
process = context.Process(target=time.sleep, args=(0.1,))
process.start()
next(iterator)
with context.Pool(2) as pool:
    assert pool.map(abs, range(-9, 0)) == list(range(9, 0, -1))
process.join()
assert process.exitcode == 0
for _ in range(9): next(iterator)
del iterator, pool, process
import multiprocessing.resource_tracker
multiprocessing.resource_tracker._resource_tracker._stop()
""")


FIT = """
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
"""
TRAIN = """
def model():
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(loss="mse")
    return model

def xy(batch):
    return batch["image"], tf.ones([tf.shape(batch["image"])[0], 1])

def fit(model, **more):
    training = load(**more).map(xy)
    validation = load(split="validation", epochs=1).map(xy)
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=0)
    steps = 4 if "epochs" not in more else None
    return model.fit(
        training, validation_data=validation, steps_per_epoch=steps, epochs=5,
        callbacks=[stop], shuffle=False, verbose=0,
    )

"""


@pytest.mark.slow
def test_keras_trains_and_stops_early(run):
    run(
        FIT.partition("tf.config")[0]
        + TRAIN
        + """
assert len(fit(model()).epoch) == 2
assert len(fit(model(), epochs=1).epoch) == 2
keras.backend.clear_session()
"""
    )


@pytest.mark.slow
def test_keras_trains_on_mirrored_devices(scripts, dataset):
    code = (
        BEGIN.partition("take(load())")[0]
        + FIT
        + TRAIN
        + """
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    assert len(fit(model()).epoch) == 2
print("done")
"""
    )
    ended = scripts.run(code, dataset)
    ended.check(seconds=PATIENCE_SECONDS)
    assert ended.out == "done\n"
