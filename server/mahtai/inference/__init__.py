"""The engine: arrays and geometry in, arrays and geometry out. No HTTP, no database, no DICOM."""
