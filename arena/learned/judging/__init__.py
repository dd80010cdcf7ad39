"""The learned success judge: pixels and an instruction to the chance of success, progress, or an abstention."""
