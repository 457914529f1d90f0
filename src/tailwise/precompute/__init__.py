"""What is computed from the training images before a stage begins."""
