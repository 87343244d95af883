"""python3 -m cloud: the same as otad-cloud."""

import sys

from .cli import main

sys.exit(main())
