"""One module per corpus; `get_config()` gives the recipe."""
