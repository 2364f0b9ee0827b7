"""From a lateral cephalogram to landmarks: two-stage localization, uncertainty, and whether to believe it."""
