"""Objects and presigned links: what S3 keeps for AWS IoT (P§3.5).

A link carries its date, its lifetime and a signature over host, path and query, so a client that adds, drops or
re-encodes anything in it is refused as S3 refuses it. https.py serves what is kept here.
"""

import calendar
import hashlib
import hmac
import mmap
import secrets
import time
from pathlib import Path
from urllib.parse import quote, unquote

from .faults import s3_error

MD5_UP_TO = 32 * 1024 * 1024
MIN_EXPIRES, MAX_EXPIRES = 60, 3600


class StoredObject:
    """Bytes under a key. A file is mapped, not read, so its size costs no memory."""

    def __init__(self, bucket, key, content):
        self.bucket, self.key = bucket, key
        if isinstance(content, (str, Path)):
            with open(content, "rb") as file:
                empty = Path(content).stat().st_size == 0
                self._data = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        else:
            self._data = bytes(content)
        self.size = len(self._data)
        self.modified = time.time()
        if self.size <= MD5_UP_TO:
            self.etag = f'"{hashlib.md5(self._data).hexdigest()}"'
        else:                           # S3's tags of large objects are no plain digest either
            self.etag = f'"{secrets.token_hex(16)}-{-(-self.size // MD5_UP_TO)}"'

    def view(self):
        return memoryview(self._data)

    def replace(self, content):
        """Another object under the same key: new bytes, new tag. Links and streams keep pointing here."""
        self.__init__(self.bucket, self.key, content)


class LinkRefused(Exception):
    """Why S3 does not honour a link: status, body, and the kind of violation if the client is to blame."""

    def __init__(self, status, code, message, fault=None):
        super().__init__(message)
        self.status, self.body, self.fault = status, s3_error(code, message), fault


class Storage:
    """`host` is the authority part of links, "localhost:PORT", once the server listens."""

    def __init__(self):
        self.host = None
        self.objects = {}
        self._secret = secrets.token_bytes(32)
        self._expired_before = self._tokens_expired_before = 0
        self._serials = {}
        self._serial = 0

    def put(self, key, content, bucket="firmware"):
        """Keeps bytes or the file at a path. Returns the StoredObject."""
        obj = StoredObject(bucket, key, content)
        self.objects[bucket, key] = obj
        return obj

    def delete(self, obj):
        self.objects.pop((obj.bucket, obj.key), None)

    def presign(self, obj, expires=1800):
        """A fresh GET link, about as long as real ones with temporary credentials are."""
        return self.presign_key(obj.bucket, obj.key, expires)

    def presign_key(self, bucket, key, expires=1800):
        if not MIN_EXPIRES <= expires <= MAX_EXPIRES:
            raise ValueError(f"links live {MIN_EXPIRES} to {MAX_EXPIRES} seconds")
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._serial += 1
        token = quote(secrets.token_urlsafe(750) + "==", safe="")
        path = f"/{bucket}/{quote(key)}"
        query = (f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIASTANDIN%2F{date[:8]}%2Feu-west-1%2Fs3%2F"
                 f"aws4_request&X-Amz-Date={date}&X-Amz-Expires={expires}&X-Amz-Security-Token={token}"
                 "&X-Amz-SignedHeaders=host")
        signature = self._sign(self.host, path, query)
        self._serials[signature] = self._serial
        return f"https://{self.host}{path}?{query}&X-Amz-Signature={signature}"

    def expire_links(self):
        """Every link given out so far has run out; links made from now on are good."""
        self._expired_before = self._serial

    def expire_tokens(self):
        """The role session behind every link so far has ended: ExpiredToken, though their own time is not up."""
        self._tokens_expired_before = self._serial

    def open(self, host, target):
        """The object a request's target gives access to. Raises LinkRefused."""
        path, _, query = target.partition("?")
        unsigned, _, signature = query.partition("&X-Amz-Signature=")
        if not hmac.compare_digest(self._sign(host, path, unsigned), signature):
            raise LinkRefused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match the "
                              "signature you provided.", fault="http-signature")
        serial = self._serials.get(signature, 0)
        fields = dict(part.partition("=")[::2] for part in unsigned.split("&"))
        made = calendar.timegm(time.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
        if serial <= self._expired_before or made + int(fields["X-Amz-Expires"]) < time.time():
            raise LinkRefused(403, "AccessDenied", "Request has expired")
        if serial <= self._tokens_expired_before:
            raise LinkRefused(400, "ExpiredToken", "The provided token has expired.")
        bucket, _, key = path.lstrip("/").partition("/")
        obj = self.objects.get((bucket, unquote(key)))
        if obj is None:
            raise LinkRefused(404, "NoSuchKey", "The specified key does not exist.")
        return obj

    def _sign(self, host, path, query):
        return hmac.new(self._secret, f"{host}\n{path}\n{query}".encode(), hashlib.sha256).hexdigest()
