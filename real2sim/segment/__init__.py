"""Things by their names: an instruction's nouns, and where a segmentation model's local weights see them."""
