"""`python -m jaxcmh`: the command line."""

import sys

from jaxcmh.commands.cli import main

sys.exit(main())
