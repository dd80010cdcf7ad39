"""A twin's parts: what is drawn, what stands in it, and how it moves."""
