"""``mahtai demo``: the main job once, on a sample, exactly as the panel does it."""
