"""``mahtai cases import``: a folder of NIfTI, NRRD, DICOM or radiographs → cases on a running server, over HTTP."""
