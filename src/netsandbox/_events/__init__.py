"""What changes in sandboxes: the iterator, and the tracker that turns messages into events."""
