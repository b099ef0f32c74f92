"""setuptools, which finds what an sdist holds in .ci/MANIFEST.in.

It looks for that list at the top of the tree alone, where nothing more may lie.
"""

from setuptools.build_meta import *  # noqa: F403
from setuptools.command.egg_info import manifest_maker

manifest_maker.template = ".ci/MANIFEST.in"
