"""Stand-in that reads verification bins with mxnet and interpolates rates with scipy."""

import pickle

import mxnet as mx
import numpy as np
import sklearn
import torch
from mxnet import ndarray as nd
from scipy import interpolate
from sklearn.decomposition import PCA  # noqa: F401


@torch.no_grad()
def load_bin(path, image_size):
    raise AssertionError(f"{pickle}, {mx} and {nd} were to read a file from strangers")


@torch.no_grad()
def test(data_set, backbone, batch_size, nfolds=10):
    data_list, issame_list = data_set
    embeddings = sum(backbone(((data / 255) - 0.5) / 0.5).numpy() for data in data_list)
    xnorm = np.linalg.norm(embeddings, axis=1).mean()
    embeddings = sklearn.preprocessing.normalize(embeddings)
    dist = np.sum(np.square(embeddings[0::2] - embeddings[1::2]), 1)
    thresholds = np.arange(0, 4, 0.01)
    far = [np.mean(dist[~np.asarray(issame_list)] < threshold) for threshold in thresholds]
    threshold = interpolate.interp1d(far, thresholds, kind="slinear")(1e-3)
    accuracy = np.mean((dist < threshold) == np.asarray(issame_list))
    return 0.0, 0.0, accuracy, 0.0, xnorm, []
