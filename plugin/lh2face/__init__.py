"""LH2Face (arXiv 2506.23555) for face-recognition toolboxes.

Importing the package loads none of its parts. :mod:`lh2face.register` registers them with mmengine.
"""

import sys

__version__ = "0.1.0"

# A config's custom_imports may name the package itself; mmengine, which reads it, is loaded then.
if "mmengine" in sys.modules:
    import lh2face.register  # noqa: F401
