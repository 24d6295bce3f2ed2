"""Tasks from four sources behind one contract, stepped as a batch."""
