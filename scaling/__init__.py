"""Laws of scaling: fits, frontiers, comparisons and projections over a table of runs."""
