"""Speed and memory: on this machine, next to PyTorch, and compiled for others."""
