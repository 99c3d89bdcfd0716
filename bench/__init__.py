"""Studies that need a checkout, the README's table, and committed results; the bench itself is `dfer_edge.bench`."""
