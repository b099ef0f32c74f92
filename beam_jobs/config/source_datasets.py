"""Opens the finished datasets that `--dataset` names."""

import os

from beam_jobs.config.job_config import JobConfig
from beam_jobs.storage.files import (
    absolute,
    is_file,
    is_folder,
    names_in,
    read_file,
    real_path,
)
from reader.contract.additions.layer import LAYER
from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import BUILD_DIR, MANIFEST, SHARD_SUFFIX
from reader.contract.manifest import Manifest, parse_manifest
from reader.contract.schema import check_stored_format


def source_manifests(config: JobConfig) -> list[Manifest]:
    """Returns the manifest of each dataset of the source, in the order of the flags.

    Raises:
        UsageError: A folder holds no finished Diptych dataset, is the output, or is
            named twice.
    """
    folders: dict[str, str] = {}
    for folder in config.paths("dataset"):
        first = folders.setdefault(real_path(folder), folder)
        if first != folder:
            raise UsageError(
                f"--dataset={folder} is the same folder as --dataset={first}: pass it "
                "once"
            )
    return [_manifest_of(folder, config) for folder in config.paths("dataset")]


def _manifest_of(folder: str, config: JobConfig) -> Manifest:
    flag = f"--dataset={folder}"
    if real_path(folder) == real_path(config.output):
        raise UsageError(
            f"{flag} is the output itself: choose another --output, and replace the "
            "dataset when the new one is complete"
        )
    try:
        data = read_file(os.path.join(folder, MANIFEST))
        manifest = parse_manifest(data, folder)
        check_stored_format(manifest.image.format)
        return manifest
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"{flag}: {_instead(folder)}") from None
    except (OSError, DatasetError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{flag}: {reason}") from error


def _instead(folder: str) -> str:
    """Returns what a path without a manifest is, and what to do."""
    if is_file(folder):
        return "a file: pass the folder of a dataset"
    if not is_folder(folder):
        return "no such folder"
    if is_file(os.path.join(folder, LAYER)):
        return (
            "a layer, which holds no images: pass the dataset that it belongs to, "
            f"{os.path.dirname(os.path.dirname(absolute(folder)))}"
        )
    if is_folder(os.path.join(folder, BUILD_DIR)):
        return "the job of this dataset has not finished: run it again"
    if any(name.endswith(SHARD_SUFFIX) for name in names_in(folder)):
        return (
            f"TFRecords without a {MANIFEST}, from another tool: only datasets that "
            "diptych built can be a source; build from the original files"
        )
    return f"no finished dataset (no {MANIFEST})"
