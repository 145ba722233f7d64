"""`python -m cli` is the `girih` command."""

from cli.main import main

main()
