"""The machine and the process: whatever asks the system, and nothing that knows of faces or networks, lives here."""
