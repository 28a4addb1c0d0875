"""An open sandbox and how it changes: under its lock, all of it or none of it."""
