"""Bytes to values and back: rtnetlink messages. Whatever the bytes are, a reader returns a value or a ProtocolError."""
