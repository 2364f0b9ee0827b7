"""Which volume of a study is T1c, T1, T2 and FLAIR, by names, DICOM tags and grids; numpy only, no slicer, no vtk."""
