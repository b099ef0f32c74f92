"""Pairs of a sample, and two of whom none becomes a record."""

from pathlib import Path

from beam_jobs.sample_data import write_sample


def write_flawed_sample(folder: Path, num: int) -> Path:
    """Writes pairs, a caption without an image, and an image that is none."""
    write_sample(str(folder), num)
    (folder / "captions/alone.txt").write_text("no image of that name")
    (folder / "captions/bad.txt").write_text("of something that is no image")
    (folder / "images/bad.png").write_bytes(b"no image")
    return folder
