"""``python -m netsandbox``: the command line."""

from netsandbox.cli import main

main()
