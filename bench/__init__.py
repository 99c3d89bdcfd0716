"""Studies that need a checkout, the tables of docs/speed.md, and committed results; the bench itself is `dfer_edge.bench`."""
