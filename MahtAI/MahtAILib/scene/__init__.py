"""Slicer's scene: volumes out, results in, views, editing, provenance. MRML and VTK, no Qt, no HTTP."""
