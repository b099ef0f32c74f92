"""Generates sample data: images of colored shapes with correct captions.

`scenes` generates scenes, `captions` describes a scene, `drawing` draws a scene and
`writing` writes images and captions to a folder. Each module imports only from modules
that come before it in this list.
"""

from beam_jobs.sample_data.captions import describe
from beam_jobs.sample_data.drawing import draw
from beam_jobs.sample_data.scenes import Scene, Shape, make_scene
from beam_jobs.sample_data.writing import write_sample

__all__ = ["Scene", "Shape", "describe", "draw", "make_scene", "write_sample"]
