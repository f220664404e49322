"""The study on real faces: heads are trained on photos, and tested on photos of other people."""
