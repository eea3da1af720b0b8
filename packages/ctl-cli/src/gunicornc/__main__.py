"""``python -m gunicornc`` is ``gunicornc``."""

import sys

from gunicornc.cli import main

sys.exit(main())
