"""What lets other tools read a dataset: its manifest, said in their words.

Small files of JSON beside the manifest. All that they hold follows from it, so that
they are the same wherever it is, and can be made again.
"""

from beam_jobs.interop import croissant, tfds
from reader.contract import layout
from reader.contract.json_values import dump_json
from reader.contract.manifest import Manifest

INTEROP_FILES = (layout.TFDS_FEATURES, layout.TFDS_INFO, layout.CROISSANT)


def interop_files(manifest: Manifest) -> dict[str, bytes]:
    """Returns the bytes of `INTEROP_FILES`; what `manifest.files` holds is not asked.

    Args:
        manifest: Of the dataset that they lie in.
    """
    contents = (
        tfds.features(manifest),
        tfds.dataset_info(manifest),
        croissant.metadata(manifest),
    )
    return dict(zip(INTEROP_FILES, map(dump_json, contents), strict=True))
