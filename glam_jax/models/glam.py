"""GLAM: multi-scale convolutions, then a global-aware block (paper, figure 1)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from glam_jax.models import layers


class GLAM(nn.Module):
    """Speech-emotion classifier of one segment.

    Attributes:
      num_classes: emotions told apart.
      batch_axis: name of the mapped axis that the batch is split over, None for none.
    """

    num_classes: int = 4
    batch_axis: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(batch, frequency, time) -> logits, (batch, num_classes)."""

        def norm_relu(x, name):
            return nn.relu(layers.BatchNorm(self.batch_axis, name=name)(x, train))

        def multi_scale(x, name):
            return layers.MultiScaleBlock(self.batch_axis, name=name)(x, train)

        x = x[..., None]
        along_frequency = layers.Conv(16, (3, 1), name="frequency_conv")(x)
        along_time = layers.Conv(16, (1, 3), name="time_conv")(x)
        x = jnp.concatenate(  # (batch, 2 frequency, time, 16)
            [
                norm_relu(along_frequency, "frequency_norm"),
                norm_relu(along_time, "time_norm"),
            ],
            axis=1,
        )
        x = layers.max_pool(multi_scale(x, "block1"))  # (batch, frequency, time/2, 32)
        x = layers.max_pool(multi_scale(x, "block2"))  # (batch, freq/2, time/4, 64)
        x = multi_scale(x, "block3")  # (batch, frequency/2, time/4, 128)
        x = norm_relu(layers.Conv(128, (5, 5), name="conv")(x), "norm")

        x = x.reshape(x.shape[0], -1, 128).swapaxes(1, 2)  # (batch, 128, positions)
        x = nn.relu(layers.GlobalAwareBlock(name="global_aware")(x))
        x = x.reshape(x.shape[0], -1)  # (batch, 128 * positions), channel-major
        self.sow("intermediates", "embedding", x)
        return layers.Dense(self.num_classes, name="classifier")(x)
