"""Networks of MahtAI's own models; a bundle may name any class that is exported here."""

from mahtai.networks.maht_net import MAHTNet

__all__ = ["MAHTNet"]
