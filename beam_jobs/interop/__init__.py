"""Generates the metadata files that let other tools read a dataset.

The files are small JSON files beside the manifest. Their content depends only on the
manifest, so they do not depend on the dataset's location and can be generated again.
"""

from beam_jobs.interop import croissant, tfds
from reader.contract import layout
from reader.contract.json_values import dump_json
from reader.contract.manifest import Manifest

INTEROP_FILES = (layout.TFDS_FEATURES, layout.TFDS_INFO, layout.CROISSANT)


def interop_files(manifest: Manifest) -> dict[str, bytes]:
    """Returns `{file name: bytes}` for all `INTEROP_FILES`.

    Args:
        manifest: Manifest of the dataset. `manifest.files` is not used.
    """
    contents = (
        tfds.features(manifest),
        tfds.dataset_info(manifest),
        croissant.metadata(manifest),
    )
    return dict(zip(INTEROP_FILES, map(dump_json, contents), strict=True))
