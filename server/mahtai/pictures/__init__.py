"""Pictures for people who have no Slicer at hand; matplotlib draws them."""
