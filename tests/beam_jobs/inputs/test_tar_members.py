"""Damaged and hostile tars: good members are read, and damage is reported."""

import io
import random
import tarfile
from typing import Any

import pytest

from beam_jobs.elements import BadInput
from beam_jobs.inputs.tar_members import Member, members_of

BLOCK = 512


def header(
    name: bytes = b"a.txt", size: int = 5, kind: bytes = b"0", *, binary: bool = False
) -> bytes:
    """Returns a POSIX tar header. Sizes too large for octal are in base 256."""
    fields = bytearray(BLOCK)

    def put(place: int, data: bytes) -> None:
        fields[place : place + len(data)] = data

    put(0, name)
    put(100, b"0000644\x000000000\x000000000\x00")
    octal = 0 <= size < 8**11 and not binary
    coded = (size % (1 << 96)) | (0 if size < 0 else 1 << 95)
    put(124, b"%011o\0" % size if octal else coded.to_bytes(12, "big"))
    put(136, b"%011o\0" % 0)
    put(148, b" " * 8 + kind)
    put(257, b"ustar\x0000")
    put(148, b"%06o\0 " % sum(fields))
    return bytes(fields)


def block(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


HELLO = header(b"hello.txt") + block(b"hello")
END = bytes(2 * BLOCK)


@pytest.fixture
def read(tmp_path):
    """`read(data)` returns the members of a tar and its problem, if any."""

    def read(data: bytes) -> tuple[list[Member], str | None]:
        path = tmp_path / "t.tar"
        path.write_bytes(data)
        members: list[Member] = []
        with open(path, "rb") as file:
            try:
                for member in members_of(file):
                    members.append(member)
                    # Simulates a listing that reads members in between.
                    file.seek(0)
            except BadInput as error:
                assert error.reason == "damaged_archive"
                return members, error.detail
        return members, None

    return read


def bytes_of(data: bytes, member: Member) -> bytes:
    return data[member.offset : member.offset + member.size]


def good_tar(num: int = 12) -> tuple[bytes, dict[bytes, bytes]]:
    rng = random.Random(0)
    contents = {b"%03d.bin" % n: rng.randbytes(n * 171) for n in range(num)}
    contents[b"long/" * 40 + b".bin"] = b"long"
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name.decode())
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue(), contents


def test_a_good_tar(read):
    data, contents = good_tar()
    members, wrong = read(data)
    assert wrong is None
    assert {member.name: bytes_of(data, member) for member in members} == contents


def test_sizes_in_base_256(read):
    data = header(b"a", 5, binary=True) + block(b"hello") + END
    members, wrong = read(data)
    assert [bytes_of(data, member) for member in members] == [b"hello"]
    assert wrong is None


def test_tars_that_hold_nothing(read):
    assert read(END) == ([], None)
    members, wrong = read(b"")
    assert not members and "empty file" in str(wrong)


def test_cut_anywhere_each_member_is_whole_or_told(read):
    data, contents = good_tar()
    last = data.rstrip(b"\0")
    cuts = {*range(0, len(data), BLOCK), *random.Random(1).sample(range(len(data)), 60)}
    for cut in sorted(cuts):
        members, wrong = read(data[:cut])
        for member in members:
            if member.wrong is None:
                assert bytes_of(data[:cut], member) == contents[member.name]
            else:
                assert member.wrong[0] == "damaged_archive"
        complete = [m for m in members if m.wrong is None]
        # All members before the cut are found.
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            ends = [info.offset_data + info.size for info in tar]
        assert len(complete) >= sum(end + BLOCK <= cut for end in ends)
        assert wrong is not None or cut > len(last)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_never_do_more_than_cost_members(read, seed):
    data, contents = good_tar()
    rng, num_reported = random.Random(seed), 0
    for _ in range(60):
        damaged = bytearray(data)
        place = rng.randrange(len(data) // BLOCK) * BLOCK + rng.randrange(BLOCK)
        damaged[place] ^= 1 << rng.randrange(8)
        members, wrong = read(bytes(damaged))
        for member in members:
            if member.wrong is None:
                assert 0 <= member.offset <= len(data) - member.size
        num_reported += wrong is not None
        names = {member.name for member in members}
        assert wrong is not None or len(names) == len(contents)
    assert num_reported


@pytest.mark.parametrize(
    "data",
    [
        header(size=-512) + HELLO + END,
        HELLO + header(size=-512) + END,
        HELLO + header(size=-(10**7)) + END,
        HELLO + header(size=1 << 62) + END,
        HELLO + header(size=1 << 90) + END,
        HELLO + header(kind=b"L", size=-512) + END,
        HELLO + header(kind=b"L", size=1 << 44) + END,
        HELLO + header(kind=b"x", size=1 << 44) + END,
        HELLO + header(kind=b"x", size=1 << 70) + END,
        HELLO + (header(kind=b"L") + block(b"hello")) * 3000 + HELLO + END,
        HELLO + header(kind=b"x", size=13) + block(b"13 size=-512\n") + HELLO + END,
        HELLO + header(kind=b"x", size=13) + block(b"99 size=-512\n") + HELLO + END,
        HELLO + header(kind=b"S", size=1 << 50) + END,
    ],
)
def test_impossible_headers_damage_the_tar_and_nothing_else(read, data):
    members, wrong = read(data)
    assert wrong is not None
    for member in members:
        if member.wrong is None and member.size > 0:
            assert bytes_of(data, member) == b"hello"


def test_two_tars_joined_are_told(read):
    members, wrong = read(HELLO + END + HELLO + END)
    assert len(members) == 1
    assert "two tars joined" in str(wrong)


@pytest.mark.parametrize("behind", [b"", bytes(BLOCK), END, bytes(20 * BLOCK)])
def test_a_tar_ends_in_zeros(read, behind):
    members, wrong = read(HELLO + behind)
    assert len(members) == 1
    assert (wrong is None) == bool(behind)


def test_garbage_is_no_tar(read):
    for data in (b"x" * 100, b"<html>" * 200, random.Random(0).randbytes(5000)):
        members, wrong = read(data)
        assert not members
        assert wrong is not None


def test_sparse_members_are_no_files(read):
    sparse: dict[str, Any] = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "sparse.bin",
        "GNU.sparse.realsize": "4096",
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("GNUSparseFile.0/sparse.bin")
        info.pax_headers, body = sparse, block(b"1\n0\n4\n") + b"data"
        info.size = len(body)
        tar.addfile(info, io.BytesIO(body))
    (member,), wrong = read(file.getvalue())
    assert member.wrong is not None and member.wrong[0] == "not_a_file"
    assert wrong is None
