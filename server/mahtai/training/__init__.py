"""Learning: case lists and their sticky splits, augmentation, the training loop, evaluation."""
