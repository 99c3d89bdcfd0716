"""What is measured: a module a kind of case; each checks that the result is right before it is timed."""
