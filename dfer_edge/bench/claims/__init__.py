"""The papers' efficiency claims: the table of them, the counts that judge, and the page with verdicts."""
