"""Volumes: geometry, file formats, the content-addressed store, and segmentations as Slicer reads them."""
