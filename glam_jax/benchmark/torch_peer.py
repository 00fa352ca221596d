"""GLAM in PyTorch, to compare with: the same network and recipe, nothing shared."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class MultiScaleBlock(nn.Module):
    """(batch, c, height, width) -> (batch, 2c, height, width)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv5 = nn.Conv2d(channels, channels, 5, padding=2)
        self.bn = nn.BatchNorm2d(2 * channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.conv3(x) + x, self.conv5(x) + x], dim=1)
        return functional.relu(self.bn(x))


class TokenGate(nn.Module):
    """(batch, tokens, 2 features) -> (batch, tokens, features): half gates half."""

    def __init__(self, tokens: int, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.weight = nn.Parameter(torch.empty(1, tokens, tokens))
        self.bias = nn.Parameter(torch.ones(1, tokens))
        nn.init.uniform_(self.weight, -1e-3 / tokens, 1e-3 / tokens)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = x.chunk(2, dim=-1)
        gate = self.weight @ self.norm(gate) + self.bias[..., None]
        return value * torch.tanh(gate)


class GlobalAwareBlock(nn.Module):
    """A gated network over (batch, tokens, features), with a residual around it."""

    def __init__(self, tokens: int, features: int):
        super().__init__()
        self.norm = nn.LayerNorm(features)
        network = {
            "proj_in": nn.Sequential(nn.Linear(features, 4 * features), nn.GELU()),
            "sgu": TokenGate(tokens, 2 * features),
            "proj_out": nn.Linear(2 * features, features),
        }
        self.fn = nn.ModuleDict({"fn": nn.ModuleDict(network)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        network = self.fn["fn"]
        y = network["sgu"](network["proj_in"](self.norm(x)))
        return x + network["proj_out"](y)


class GLAM(nn.Module):
    """(batch, frequency, time) -> logits; nested for the reference's tensor names."""

    def __init__(self, num_classes: int = 4, feature_shape: tuple = (26, 57)):
        super().__init__()
        frequency, time = feature_shape
        positions = (frequency // 2) * (time // 4)
        self.conv1a = nn.Conv2d(1, 16, (3, 1), padding=(1, 0))
        self.conv1b = nn.Conv2d(1, 16, (1, 3), padding=(0, 1))
        self.bn1a, self.bn1b = nn.BatchNorm2d(16), nn.BatchNorm2d(16)
        self.conv2, self.conv3, self.conv4 = map(MultiScaleBlock, (16, 32, 64))
        self.conv5 = nn.Conv2d(128, 128, 5, padding=2)
        self.bn5 = nn.BatchNorm2d(128)
        block = nn.ModuleDict({"fn": GlobalAwareBlock(128, positions)})
        self.gmlp = nn.ModuleDict({"layers": nn.ModuleList([block])})
        self.fc = nn.Linear(128 * positions, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.unsqueeze(1)
        along_frequency = functional.relu(self.bn1a(self.conv1a(x)))
        along_time = functional.relu(self.bn1b(self.conv1b(x)))
        x = torch.cat([along_frequency, along_time], dim=2)
        x = functional.max_pool2d(self.conv2(x), 2)
        x = functional.max_pool2d(self.conv3(x), 2)
        x = functional.relu(self.bn5(self.conv5(self.conv4(x))))
        x = functional.relu(self.gmlp["layers"][0]["fn"](x.flatten(2)))
        return self.fc(x.flatten(1))


class Peer:
    """A model in training, with Adam and L2 added to the gradient."""

    def __init__(self, model: GLAM, learning_rate: float, weight_decay: float):
        # 10 % faster in training, 15 % in inference than contiguous on an AMD EPYC.
        self.model = model.to(memory_format=torch.channels_last)
        adam = {"lr": learning_rate, "weight_decay": weight_decay}
        self.optimizer = torch.optim.Adam(model.parameters(), **adam)

    def train(self, features, labels, pairs, weights) -> np.ndarray:
        """Takes one mixup step for each batch; returns their (steps,) losses.

        Args:
          features: (segments, frequency, time) float32.
          labels: (segments,) int64.
          pairs: (steps, 2, batch size) indices of segments and of their partners.
          weights: (steps,) the weight of a batch's examples against their partners.
        """
        self.model.train()
        features, labels = torch.from_numpy(features), torch.from_numpy(labels)
        losses = []
        for (first, second), weight in zip(pairs, weights.tolist(), strict=True):
            x = torch.lerp(features[second], features[first], weight)
            logits = self.model(x)
            loss = weight * functional.cross_entropy(logits, labels[first])
            loss += (1 - weight) * functional.cross_entropy(logits, labels[second])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).numpy()

    @torch.inference_mode()
    def predict(self, features, segments, batch_size: int) -> np.ndarray:
        """(n, classes) logits of the (n,) segments of `features`."""
        self.model.eval()
        features, segments = torch.from_numpy(features), torch.from_numpy(segments)
        batches = (features[batch] for batch in segments.split(batch_size))
        return torch.cat([self.model(batch) for batch in batches]).numpy()
