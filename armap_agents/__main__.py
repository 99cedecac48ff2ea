"""`python -m armap_agents`: the `armap` command."""

from armap_agents.cli import main

main()
