"""Tests that process-wide codec settings change only while the job runs."""

import io
import subprocess
import sys
import textwrap
import warnings

import cv2
import numpy as np
import pytest
from PIL import AvifImagePlugin, Image

import beam_jobs
import reader
from beam_jobs.encoding.codecs import codecs_restored, configure_codecs
from beam_jobs.encoding.encode_image import SourceImage

READ = """
import warnings, cv2
from PIL import AvifImagePlugin, Image

def settings():
    avif = AvifImagePlugin.DEFAULT_MAX_THREADS
    ipp, threads = cv2.ipp.useIPP(), cv2.getNumThreads()
    return Image.MAX_IMAGE_PIXELS, avif, ipp, threads, [*warnings.filters]
"""


def run(code: str) -> str:
    script = READ + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_importing_any_module_of_the_job_changes_nothing():
    assert run("""
        import importlib, pkgutil
        # Beam, PyArrow and others change warning filters themselves.
        import apache_beam, pyarrow.parquet
        import apache_beam.runners.portability.fn_api_runner.fn_runner
        import apache_beam.io.gcp.gcsio, boto3
        before = settings()
        import beam_jobs
        for module in pkgutil.walk_packages(beam_jobs.__path__, "beam_jobs."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        print([a == b for a, b in zip(before, settings())])
    """) == str([True] * 5)


def test_a_caller_of_run_keeps_its_own_settings(sample, tmp_path):
    assert (
        run(f"""
        import beam_jobs
        folder = {str(sample)!r}
        config = beam_jobs.JobConfig(
            images=folder + "/images",
            captions=folder + "/captions",
            output={str(tmp_path / "out")!r},
            workers=1,
        )
        Image.MAX_IMAGE_PIXELS = 12_345
        cv2.setNumThreads(2)
        before = settings()[:4]
        result = beam_jobs.run(config)
        assert not result.outcome.failures, result
        print(before == settings()[:4], before[0])
    """)
        == "True 12345"
    )


def test_what_was_set_is_restored_after_an_error():
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(OSError, match="full"), codecs_restored():
        Image.MAX_IMAGE_PIXELS = 7
        AvifImagePlugin.DEFAULT_MAX_THREADS = 3
        filters = [*warnings.filters]
        with codecs_restored():
            configure_codecs()
            assert Image.MAX_IMAGE_PIXELS is None
            assert (cv2.getNumThreads(), cv2.ipp.useIPP()) == (1, False)
        assert (Image.MAX_IMAGE_PIXELS, AvifImagePlugin.DEFAULT_MAX_THREADS) == (7, 3)
        assert warnings.filters == filters
        raise OSError("full")
    assert before == Image.MAX_IMAGE_PIXELS


def test_enlarged_images_are_those_of_machines_without_ipp(tmp_path):
    """The threads of a job turn IPP off themselves, which rounds otherwise."""
    noise = np.random.default_rng(0).integers(0, 256, (37, 41, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("noise")
    config = beam_jobs.JobConfig(
        images=str(tmp_path),
        captions=str(tmp_path),
        output=str(tmp_path / "out"),
        image_format="png",
        image_size=83,
        upscale=True,
    )
    assert not beam_jobs.run(config).outcome.failures
    stored = reader.open(tmp_path / "out")[0]["image"]
    with codecs_restored():
        configure_codecs()
        image = SourceImage((tmp_path / "a.png").read_bytes(), max_pixels=10**6)
        encoded = image.encode(config.image_spec)
    assert np.array_equal(stored, Image.open(io.BytesIO(encoded.data)))
    assert stored.shape == (83, 92, 3)
