"""Models: reading MONAI bundles without running them, the catalogue, fetching and checking."""
