"""Everything published, from measuring to the pages: ``python -m bench.publish``."""
