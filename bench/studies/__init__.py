"""Questions asked once and on new weights or devices: each is a command that prints or writes one result."""
