"""`python -m nearfar.cli`."""

from nearfar.cli import main

main()
