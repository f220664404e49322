"""The study on real faces: heads trained on photos of people, tested on people left out."""
