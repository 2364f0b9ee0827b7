"""De-identification by DICOM PS3.15 Annex E: the table, the engine, defacing, and a scan for what is left over."""
