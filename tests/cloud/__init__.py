"""A strict local stand-in for AWS IoT Core: message broker, Jobs, MQTT file streams and S3 links. See README.md."""

from . import faults
from .cloud import Cloud, WrongEnd
from .job_queue import JobError, Rules
from .ota import OtaFile
from .pki import Authority, Signer
from .record import Unclean

__all__ = ["Authority", "Cloud", "JobError", "OtaFile", "Rules", "Signer", "Unclean", "WrongEnd", "faults"]
