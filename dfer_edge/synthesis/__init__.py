"""Faces rendered from a morphable model: labelled clips of expressions, with landmarks and action units.

The face model is not part of the package: see :func:`load_face_model`.
"""

from dfer_edge.synthesis.action_units import AU_NAMES
from dfer_edge.synthesis.clip import ClipSettings, SyntheticClip
from dfer_edge.synthesis.dataset import SyntheticClips
from dfer_edge.synthesis.face_model import FaceModel, load_face_model
from dfer_edge.synthesis.recipes import CLASSES
from dfer_edge.synthesis.renderer import FaceRenderer
from dfer_edge.synthesis.storage import RenderedClips, write_clips

__all__ = [
    "AU_NAMES",
    "CLASSES",
    "ClipSettings",
    "FaceModel",
    "FaceRenderer",
    "RenderedClips",
    "SyntheticClip",
    "SyntheticClips",
    "load_face_model",
    "write_clips",
]
