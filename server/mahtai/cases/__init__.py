"""Studies, the volumes that they are made of, and the label versions that people save on them."""
