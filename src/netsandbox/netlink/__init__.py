"""Bytes to values and back: rtnetlink messages. Nothing here touches a socket."""
