"""How it is measured: clocks, scenarios, sensors, peaks and provenance; nothing that knows a network."""
