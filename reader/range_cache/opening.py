"""Opens a cache, and clears what killed processes and crashes have left in it."""

import logging
import os
import sqlite3
import time
from typing import NamedTuple

from reader.contract.errors import UsageError
from reader.range_cache.block_files import BlockFiles
from reader.range_cache.eviction import Plan
from reader.range_cache.ledger import VERSION, Ledger, ledger_paths
from reader.range_cache.runs import RunRow
from reader.range_cache.session import Session
from reader.range_cache.space import Space
from reader.range_cache.users import User, alive_in, locked
from reader.shuffle.next_uses import NextUses

_LOG = logging.getLogger("reader")


class Setup(NamedTuple):
    """What a run wants of a cache.

    Attributes:
        folder: Folder of the cache.
        max_bytes: Most space that it takes on the disk.
        names: Name of each file of the index, by its content.
        first_blocks: Number of each file's first block in the index.
        next_uses: When blocks are needed next; None if that is not known.
        run: Name of the run; empty without next uses.
    """

    folder: str
    max_bytes: int
    names: list[str]
    first_blocks: list[int]
    next_uses: NextUses | None
    run: str


def open_session(setup: Setup) -> Session:
    """Opens a cache for this process, or creates it.

    Raises:
        UsageError: Another host uses the folder, or a later version wrote it.
        OSError: The folder cannot be written.
        sqlite3.Error: The ledger cannot be written.
    """
    users = os.path.join(setup.folder, "users")
    os.makedirs(users, exist_ok=True)
    files = BlockFiles(os.path.join(setup.folder, "blocks"))
    with locked(os.path.join(setup.folder, "lock")):
        alive = alive_in(users)
        ledger = _open_ledger(setup.folder, files, has_users=bool(alive))
        user = User(users)
        space = Space(ledger, files, setup.max_bytes)
        _clear(ledger, space, alive)
        host = 0 if setup.next_uses is None else setup.next_uses.share.host_index
        with ledger.change():
            ledger.runs.join(user.name, setup.run, host, 0, time.time())
        space.shrink(user.name)
    shards = ledger.number_shards(setup.names)
    # Of files with the same content, the blocks of the first one count.
    first = dict(zip(reversed(shards), reversed(setup.first_blocks), strict=True))
    plan = Plan(setup.next_uses, first, RunRow(0, "", 0, 0, 0))
    return Session(
        user, ledger, files, space, plan, setup.run, shards, setup.first_blocks
    )


def _open_ledger(folder: str, files: BlockFiles, *, has_users: bool) -> Ledger:
    """Opens the ledger; starts empty if it is damaged and no process uses it."""
    boot, ledger = _boot(), None
    try:
        ledger = Ledger(folder)
        _check_ours(ledger, folder, boot, has_users=has_users)
        if ledger.about[1] != boot or not boot:
            _compare_all(ledger, files)
            ledger.note_boot(boot)
        return ledger
    except sqlite3.DatabaseError as error:
        if ledger is not None:
            ledger.close()
        # A disk that is full, or a lock, is no damage.
        if has_users or isinstance(error, sqlite3.OperationalError):
            raise
        _LOG.warning(
            "the ledger of the cache in %s is damaged (%s): the cache starts empty",
            folder,
            error,
        )
        _delete_all(folder, files)
        ledger = Ledger(folder)
        ledger.note_boot(boot)
        return ledger


def _check_ours(ledger: Ledger, folder: str, boot: str, *, has_users: bool) -> None:
    version, last_boot = ledger.about
    if version > VERSION:
        raise UsageError(
            f"the cache in {folder} has version {version}, and this reader knows up "
            f"to {VERSION}: pass another folder, or delete it"
        )
    if last_boot != boot and has_users:
        raise UsageError(
            f"another host uses the cache in {folder}: pass a folder of this host's "
            "own, on a local disk"
        )


def _compare_all(ledger: Ledger, files: BlockFiles) -> None:
    """Compares the ledger with the files, after a crash of the machine."""
    if not ledger.is_sound:
        raise sqlite3.DatabaseError("SQLite finds damage")
    spaces = ledger.blocks.spaces()
    found = dict(files.scan())
    for block in found.keys() - spaces.keys():
        files.remove(block)
    with ledger.change():
        ledger.blocks.forget(list(spaces.keys() - found.keys()))
        both = found.keys() & spaces.keys()
        ledger.blocks.set_spaces([(found[block], block) for block in both])


def _delete_all(folder: str, files: BlockFiles) -> None:
    for path in ledger_paths(folder):
        if os.path.exists(path):
            os.unlink(path)
    files.remove_all()


def _clear(ledger: Ledger, space: Space, alive: set[str]) -> None:
    """Clears what killed processes left: reservations, and files half deleted."""
    for user in ledger.runs.users() - alive:
        space.evict(user)
        with ledger.change():
            space.release(ledger.blocks.reserved_by(user))
            ledger.runs.leave(user)


def _boot() -> str:
    """Returns a name of this boot of the machine; empty if it has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""
