"""CreateOTAUpdate: from files and a signature to a stream, presigned links and the `afr_ota` job document.

The document is made anew for each delivery, because its links are (P§3.5); its member names and order are those of
P§3.1, its limits those of P§3.2.
"""

import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Union

from .jobs import JOB_ID

UPDATE_ID = re.compile(r"[a-zA-Z0-9_-]{1,128}")
PROTOCOLS = {"MQTT", "HTTP"}
MAX_DOCUMENT = 32768
PLACEHOLDER = re.compile(r"\$\{aws:iot:s3-presigned-url(?:-v2)?:https://([^/}]+)/([^}]+)\}")


@dataclass
class OtaFile:
    """One file of an update. `image` is bytes or a path; `signature` replaces the one the signer makes.

    `certfile` is what the job says the certificate is called on the device; `hash` and `algorithm` make the name
    of the signature's member, so that tests can have them disagree with the signer.
    """
    name: str
    image: Union[bytes, str, Path]
    signer: Any = None
    certfile: Optional[str] = None
    hash: str = "sha256"
    algorithm: Optional[str] = None
    signature: Optional[str] = None
    file_type: Optional[int] = 0
    file_id: Optional[int] = None


@dataclass
class OtaUpdate:
    """What CreateOTAUpdate left behind."""
    id: str
    stream_id: Optional[str]
    files: List[OtaFile]
    objects: Dict[int, Any]             # file id -> stored object
    protocols: List[str]
    signatures: Dict[int, Optional[str]] = field(default_factory=dict)
    url_expires: int = 1800
    edit: Optional[Callable[[dict], Any]] = None

    def document(self, storage):
        """The document as the device gets it now."""
        ota = {"protocols": list(self.protocols)}
        if self.stream_id:
            ota["streamname"] = self.stream_id
        ota["files"] = [self._file(file, file_id, storage) for file_id, file in zip(self.objects, self.files)]
        document = {"afr_ota": ota}
        if self.edit:
            self.edit(document)
        return document

    def _file(self, file, file_id, storage):
        out = {"filepath": file.name, "filesize": self.objects[file_id].size, "fileid": file_id}
        signature = self.signatures[file_id]
        if signature is not None:
            out["certfile"] = file.certfile or (file.signer.name + ".pem" if file.signer else "codesign.pem")
        if file.file_type is not None:
            out["fileType"] = file.file_type
        if "HTTP" in self.protocols:
            out["update_data_url"] = storage.presign(self.objects[file_id], self.url_expires)
            out["auth_scheme"] = "aws.s3.presigned"
        if signature is not None:
            algorithm = file.algorithm or (file.signer.algorithm if file.signer else "ecdsa")
            out[f"sig-{file.hash}-{algorithm}"] = signature
        return out


def create_update(update_id, files, protocols, storage, streams, url_expires=1800, edit=None):
    """Stores and signs the files, makes the stream. Raises ValueError for what CreateOTAUpdate refuses."""
    if not UPDATE_ID.fullmatch(update_id) or not JOB_ID.fullmatch(f"AFR_OTA-{update_id}"):
        raise ValueError(f"not an OTA update id: {update_id!r}")
    protocols = list(protocols)
    if not protocols or not set(protocols) <= PROTOCOLS or len(set(protocols)) != len(protocols):
        raise ValueError(f"protocols are MQTT, HTTP or both, not {protocols}")
    if not files:
        raise ValueError("an update has at least one file")
    objects, signatures = {}, {}
    for index, file in enumerate(files):
        file_id = index if file.file_id is None else file.file_id
        if not 0 <= file_id <= 255 or file_id in objects:
            raise ValueError(f"file id {file_id} is used twice or not within 0 to 255")
        obj = storage.put(f"{update_id}/{file_id}/{Path(file.name).name or 'file'}", file.image)
        objects[file_id] = obj
        signed = file.signer.sign(obj.view(), file.hash) if file.signer and file.signature is None else None
        signatures[file_id] = signed if file.signature is None else file.signature
    stream_id = None
    if "MQTT" in protocols:
        stream_id = f"AFR_OTA-{uuid.uuid4()}"
        streams.create(stream_id, objects, f"OTA update {update_id}")
    return OtaUpdate(update_id, stream_id, list(files), objects, protocols, signatures, url_expires, edit)


def fill_in(document, storage, expires=3600):
    """Replaces `${aws:iot:s3-presigned-url:...}` in a custom job's document by fresh links (P§3.6)."""
    if isinstance(document, dict):
        return {k: fill_in(v, storage, expires) for k, v in document.items()}
    if isinstance(document, list):
        return [fill_in(v, storage, expires) for v in document]
    if isinstance(document, str):
        return PLACEHOLDER.sub(lambda m: _link(m[1], m[2], storage, expires), document)
    return document


def _link(host, path, storage, expires):
    if host.startswith("s3.") or host == "s3.amazonaws.com":
        bucket, _, key = path.partition("/")
    else:
        bucket, key = host.split(".s3.", 1)[0], path
    return storage.presign_key(bucket, key, expires)

