"""Draws sample data: scenes of coloured shapes, with captions true of the picture.

The modules import one way: `scenes` decides what a picture holds, `captions` says it,
`drawing` draws it, and `writing` puts pictures and captions in a folder.
"""

from beam_jobs.sample_data.captions import describe
from beam_jobs.sample_data.drawing import draw
from beam_jobs.sample_data.scenes import Scene, Shape, make_scene
from beam_jobs.sample_data.writing import write_sample

__all__ = ["Scene", "Shape", "describe", "draw", "make_scene", "write_sample"]
