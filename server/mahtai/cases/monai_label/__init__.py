"""Cases as MONAI Label's clients know them: images under ids of their own, labelmaps, and models by label names."""
