"""Training: the papers' recipes and our own for rendered faces, as data; a plain loop with exact resume.

Torch is imported on use. ``dfer-edge train`` is the command line of :class:`dfer_edge.training.trainer.Trainer`.
"""

from __future__ import annotations

from dfer_edge.training.recipes import Recipe
from dfer_edge.training.table import find_recipe, list_recipes

__all__ = ["Recipe", "find_recipe", "list_recipes"]
