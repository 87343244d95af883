"""A simulated gateway, for end-to-end tests and the demo. See README.md."""

from .gateway import Gateway
from .image import make_image, read_header
from .proxy import Proxy
from .way_out import SOURCE, RealProxy, StrictProxy
from .way_out import SOURCE, RealProxy, StrictProxy

__all__ = ["Gateway", "Proxy", "RealProxy", "SOURCE", "StrictProxy", "make_image", "read_header"]
