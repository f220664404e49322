"""LH2Face (arXiv 2506.23555) for face-recognition toolboxes; importing it registers its parts."""
