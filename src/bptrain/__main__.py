"""`python -m bptrain`."""

import sys

from bptrain.cli.main import main

sys.exit(main())
