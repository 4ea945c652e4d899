"""`python -m resvae_ray` is `resvae-ray`."""

import sys

from resvae_ray.cli import main

sys.exit(main())
