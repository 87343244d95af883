"""A simulated gateway, for end-to-end tests and the demo. See README.md."""

from .gateway import Gateway
from .image import make_image, read_header
from .proxy import Proxy

__all__ = ["Gateway", "Proxy", "make_image", "read_header"]
