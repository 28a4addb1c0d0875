"""Plans: a request and the facts in, ordered steps out. Pure."""
