"""Heads: modules with proxies and a loss from ``functional``; importing this registers them."""

from lh2face.heads.adaface import AdaFaceHead
from lh2face.heads.arcface import ArcFaceHead
from lh2face.heads.cosface import CosFaceHead
from lh2face.heads.curricularface import CurricularFaceHead
from lh2face.heads.lh2face import LH2FaceHead
from lh2face.heads.magface import MagFaceHead
from lh2face.heads.normface import NormFaceHead
from lh2face.heads.proxy_anchor import ProxyAnchorHead
from lh2face.heads.proxy_head import Proxies
from lh2face.heads.scf import SCFHead

__all__ = [
    "AdaFaceHead",
    "ArcFaceHead",
    "CosFaceHead",
    "CurricularFaceHead",
    "LH2FaceHead",
    "MagFaceHead",
    "NormFaceHead",
    "Proxies",
    "ProxyAnchorHead",
    "SCFHead",
]
