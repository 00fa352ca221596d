"""GLAM (Zhu & Li, ICASSP 2022) in JAX and Flax: models, training, reports."""
