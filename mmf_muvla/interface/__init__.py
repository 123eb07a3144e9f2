"""A trained model in Python: ``load`` gives one that can be asked, saved and shared. Nothing of it needs MMF.

Importing this package makes its models known to ``transformers``: ``AutoConfig`` and ``AutoModel`` load them then.
"""

from mmf_muvla.interface.attention import Attention
from mmf_muvla.interface.images import ImageRegions
from mmf_muvla.interface.loading import load
from mmf_muvla.interface.model import Found, Guess, Model
from mmf_muvla.interface.network import MuvlaConfig, MuvlaModel

__all__ = ["Attention", "Found", "Guess", "ImageRegions", "Model", "MuvlaConfig", "MuvlaModel", "load"]
