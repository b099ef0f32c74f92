"""A plain and slow reference implementation of the order of an epoch."""

import hashlib

MASK = 2**64 - 1


def splitmix64(state: int, num: int) -> list[int]:
    """The first outputs of Vigna's reference generator, which updates a state."""
    outputs = []
    for _ in range(num):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        outputs.append(z ^ (z >> 31))
    return outputs


def plain_key(use: str, seed: int, epoch: int) -> int:
    digest = hashlib.blake2b(digest_size=8, person=use.encode())
    digest.update(f"{seed}:{epoch}".encode())
    return int.from_bytes(digest.digest(), "little")


def plain_permutation(key: int, num: int) -> list[int]:
    bits = splitmix64(key, num)
    return sorted(range(num), key=lambda number: bits[number])


def plain_blocks(shard_sizes: list[int]) -> list[list[int]]:
    """Numbers of the records of each block: up to 64 neighbors of one shard."""
    blocks, number = [], 0
    for size in shard_sizes:
        for place in range(size):
            if place % 64 == 0:
                blocks.append([])
            blocks[-1].append(number)
            number += 1
    return blocks


def plain_streams(blocks: list[list[int]], seed: int, epoch: int) -> list[list[int]]:
    """Numbers of the records of each of the 192 streams, before they are shuffled."""
    order = plain_permutation(plain_key("blocks", seed, epoch), len(blocks))
    line = [number for block in order for number in blocks[block]]
    shift = plain_key("shift", seed, epoch) % len(line)
    line = line[shift:] + line[:shift]
    streams, begin = {}, 0
    for stream in plain_permutation(plain_key("streams", seed, epoch), 192):
        end = begin + len(line) // 192 + (1 if stream < len(line) % 192 else 0)
        streams[stream], begin = line[begin:end], end
    return [streams[stream] for stream in range(192)]


def plain_order(
    shard_sizes: list[int], seed: int, epoch: int, rounds: int
) -> list[int]:
    """Numbers of all records of shards in the order of an epoch."""
    return plain_order_of(plain_blocks(shard_sizes), seed, epoch, rounds)


def plain_order_of(
    blocks: list[list[int]], seed: int, epoch: int, rounds: int
) -> list[int]:
    """Numbers of all records of blocks in the order of an epoch."""
    num = sum(map(len, blocks))
    bits = splitmix64(plain_key("window", seed, epoch), num)
    streams = []
    for stream in plain_streams(blocks, seed, epoch):
        windows = [stream[at : at + rounds] for at in range(0, len(stream), rounds)]
        by_bits = [sorted(window, key=lambda n: bits[n]) for window in windows]
        streams.append([number for window in by_bits for number in window])
    return [streams[position % 192][position // 192] for position in range(num)]
