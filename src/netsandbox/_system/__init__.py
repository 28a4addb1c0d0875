"""The only system calls of netsandbox."""
