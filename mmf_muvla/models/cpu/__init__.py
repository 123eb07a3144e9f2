"""What only CPUs need: layers that compute what those of ``torch.nn`` do, faster there, and are those elsewhere."""

from mmf_muvla.models.cpu.dropout import Dropout
from mmf_muvla.models.cpu.linear import Linear, feed_forward, linear
from mmf_muvla.models.cpu.ragged import RaggedLayout

__all__ = ["Dropout", "Linear", "RaggedLayout", "feed_forward", "linear"]
