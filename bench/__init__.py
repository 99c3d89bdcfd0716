"""Studies that need a checkout, tables of docs/speed.md, committed results; the bench itself is `dfer_edge.bench`."""
