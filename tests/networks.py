"""A network for tests of what trains networks: tiny, with all that one may have."""

from flax import linen as nn

from glam_jax.models import layers
from glam_jax.models.ops import normalization


class Tiny(nn.Module):
    """BatchNorm and dropout that devices share, and an embedding.

    It compiles in a tenth of the time that the table's networks take.
    """

    num_classes: int
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, x, train):  # (batch, frequency, time)
        x = nn.Dense(8)(x.swapaxes(1, 2))
        x = normalization.BatchNormReLU(self.batch_axis)(x, train)
        x = layers.Dropout(0.2, self.batch_axis)(x, train).mean(axis=1)
        self.sow("intermediates", "embedding", x)
        return nn.Dense(self.num_classes)(x)


TINY = "networks:Tiny"
