"""Fused operations, a folder each: a public function, its reference and its backends."""
