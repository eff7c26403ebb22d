"""Where the graph runs: here, or compiled for elsewhere."""
