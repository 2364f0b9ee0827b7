"""The library of the Slicer module: client, and later cephalometry, scene and panel."""
