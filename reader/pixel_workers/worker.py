"""The program of a worker process, which `processes` starts.

Imports neither TensorFlow nor anything else that the makers do not need.
"""

import os
import pickle
import select
import socket
import sys
import threading
import time

from reader.pixel_workers.parts import MESSAGE_BYTES, Makers, Part, make_rows_or_note
from reader.pixel_workers.shared_memory import SharedMemory

# Standard input is a socket whose other end only the parent has.
_LIFELINE = 0
_POLL_MS = 1000


def main(
    parent: int, memory_fd: int, makers_bytes: int, used_offset: int, *fds: int
) -> None:
    """Makes parts of batches until the parent ends or closes the lifeline.

    Args:
        parent: Process id of the parent.
        memory_fd: Descriptor of the shared memory.
        makers_bytes: Size of the pickled makers, at the start of the shared memory.
        used_offset: Offset of the CPU time of this process in the shared memory.
        *fds: Descriptors of sockets: that with parts to make, then the channels, on
            which callers count finished parts.
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    memory = SharedMemory(memory_fd)
    makers: Makers = pickle.loads(memory.bytes_at(0, makers_bytes))
    used = memory.array(used_offset, (1,), "float64")
    tasks, *channels = (socket.socket(fileno=fd) for fd in fds)
    begun = time.process_time()
    while message := tasks.recv(MESSAGE_BYTES):
        part = Part.unpack(message)
        make_rows_or_note(makers, memory, part)
        used[0] = time.process_time() - begun
        channels[part.channel].send(b".")


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended, even while it makes a part.

    The lifeline closes then, unless another process has a copy of it, as a child that
    the parent forked.
    """
    poll = select.poll()
    poll.register(_LIFELINE, select.POLLIN)
    while not poll.poll(_POLL_MS) and os.getppid() == parent:
        pass
    os._exit(0)


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:]))
    except ConnectionError:  # The parent has ended.
        os._exit(0)
