"""A generated world: images' regions, unpaired texts, held-out pairs and a question task, in real data's formats.

:func:`generate` makes it on disk; :func:`draw_scene` shows what a scene looks like.
"""

from mmf_muvla.toyworld.detector import DetectorConfig
from mmf_muvla.toyworld.pictures import draw_scene
from mmf_muvla.toyworld.world import ToyWorldConfig, generate

__all__ = ["DetectorConfig", "ToyWorldConfig", "draw_scene", "generate"]
