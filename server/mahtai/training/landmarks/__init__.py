"""Training, calibration and evaluation of landmark models."""
