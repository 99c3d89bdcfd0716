"""Benches: run from a checkout, results under results/ by processor."""
