"""What stands on top of the trunk: one small head per objective."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mmf_muvla.models.trunk import TrunkConfig, initialize_weights


class VocabularyHead(nn.Module):
    """BERT's masked-token head: dense, GELU, LayerNorm, then the word embeddings as the output matrix.

    Used for MLM on text positions and for p-MRTC on region positions (each with its own transformation).

    Args:
        config: the trunk's shape.
        word_embedding: the embedding whose weight the output layer shares.
    """

    def __init__(self, config: TrunkConfig, word_embedding: nn.Embedding):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        initialize_weights(self.dense)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.decoder.weight = word_embedding.weight
        nn.init.zeros_(self.decoder.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """float [M, hidden] -> float [M, vocabulary]."""
        return self.decoder(self.norm(F.gelu(self.dense(hidden))))


def linear_head(config: TrunkConfig, outputs: int) -> nn.Linear:
    """A fully connected head (MRC: classes; MRFR: feature numbers; ITM: one logit), initialised as BERT's are."""
    head = nn.Linear(config.hidden_size, outputs)
    initialize_weights(head)
    return head


class ClassifierHead(nn.Module):
    """Answer classifier on a pooled vector: dense, GELU, LayerNorm, dropout, linear.

    Args:
        input_size: size of the pooled vector ([CLS], or several of them concatenated).
        hidden_size: size of the layer in between.
        num_labels: number of answers or classes.
        dropout: probability of dropping a number of the layer in between.
    """

    def __init__(self, input_size: int, hidden_size: int, num_labels: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.GELU(),
            nn.LayerNorm(hidden_size),
            nn.Dropout(dropout),
            nn.Linear(hidden_size, num_labels),
        )
        self.apply(initialize_weights)

    def forward(self, pooled: Tensor) -> Tensor:
        """float [B, input_size] -> float [B, num_labels]."""
        return self.layers(pooled)
