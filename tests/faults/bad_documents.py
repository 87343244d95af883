"""Job documents nobody should send, and what becomes of each: the bytes, and in bad_documents.txt the answer to them."""

import base64
import copy
import json

SIGNATURE = base64.b64encode(bytes.fromhex("3006020101020101")).decode()
FILE = {"filepath": "rootfs.img", "filesize": 200000, "fileid": 0, "certfile": "codesign.pem", "fileType": 0,
        "update_data_url": "https://localhost:1/x?X-Amz-Signature=secret", "auth_scheme": "aws.s3.presigned",
        "sig-sha256-ecdsa": SIGNATURE}
GOOD = {"afr_ota": {"protocols": ["HTTP"], "files": [FILE]}}
NASTY = "\x1b[31m\r\njob: SUCCEEDED\x07\x7f\x9b\u2028\u202e"


def text(document):
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")


def ota(**changes):
    document = copy.deepcopy(GOOD)
    for name, value in changes.items():
        if value is None:
            document["afr_ota"].pop(name, None)
        else:
            document["afr_ota"][name] = value
    return text(document)


def file(**changes):
    """The good document with its file changed; `...` takes a member away. Names with "_" for "-"."""
    one = dict(FILE)
    for name, value in changes.items():
        name = name.replace("sig_sha", "sig-sha").replace("_ecdsa", "-ecdsa").replace("_rsa", "-rsa")
        if value is ...:
            one.pop(name)
        else:
            one[name] = value
    return ota(files=[one])


def raw(member, value):
    """A member of the file with its value written as it is, which Python's JSON would not."""
    return file(**{member: "@@"}).replace(b'"@@"', value)


def twice(member):
    return text(GOOD).replace(f'"{member}":'.encode(), f'"{member}": 0, "{member}":'.encode(), 1)


def stream(**changes):
    return ota(protocols=["MQTT"], **{"streamname": "AFR_OTA-x", **changes})


DOCUMENTS = {
    # Form
    "blank": b" ", "null": b"null", "a number": b"7", "a string": b'"afr_ota"', "true": b"true", "an array": b"[]",
    "an array of it": b"[" + text(GOOD) + b"]", "an empty object": b"{}", "cut off": text(GOOD)[:-1], "cut off in a string": text(GOOD)[:50],
    "something behind it": text(GOOD) + b"}", "another document behind it": text(GOOD) * 2, "a comma too many": text(GOOD)[:-1] + b",}",
    "single quotes": text(GOOD).replace(b'"', b"'"), "a comment": b"/* x */" + text(GOOD), "a NUL in it": text(GOOD)[:20] + b"\0" + text(GOOD)[20:],
    "NULs behind it": text(GOOD) + bytes(10), "a byte order mark": b"\xef\xbb\xbf" + text(GOOD), "in UTF-16": text(GOOD).decode().encode("utf-16-le"),
    "not a number": raw("filesize", b"NaN"), "infinity": raw("filesize", b"Infinity"), "hexadecimal": raw("filesize", b"0x10"),
    "a leading zero": raw("filesize", b"010"), "a plus": raw("filesize", b"+10"), "a dot at the end": raw("filesize", b"10."),
    "a bare word": raw("filesize", b"undefined"), "a tab in a string": raw("filepath", b'"root\tfs.img"'),
    "a line end in a string": raw("filepath", b'"root\nfs.img"'), "an unknown escape": raw("filepath", b'"\\x41"'),
    "half a surrogate": raw("filepath", b'"\\ud800"'), "surrogates the wrong way round": raw("filepath", b'"\\udc00\\ud800"'),
    "invalid UTF-8": raw("filepath", b'"\xff\xfe"'), "overlong UTF-8": raw("filepath", b'"\xc0\xaf"'), "a surrogate in UTF-8": raw("filepath", b'"\xed\xa0\x80"'),
    "UTF-8 beyond Unicode": raw("filepath", b'"\xf5\x80\x80\x80"'), "UTF-8 cut off": raw("filepath", b'"\xe2\x82"'),
    "nested 20 deep": b'{"afr_ota":' * 20 + b"1" + b"}" * 20, "nested 100 deep": b'{"afr_ota":' * 100 + b"1" + b"}" * 100,
    "10,000 open arrays": b'{"afr_ota":' + b"[" * 10_000, "30,000 open objects": b'{"a":' * 6_000,
    "a deep value beside": text(GOOD)[:-1] + b',"x":' + b"[" * 200 + b"]" * 200 + b"}",
    "a name of 30 KB": text({"a" * 30_000: 1, **GOOD}), "10,000 members": text({**{f"m{i}": i for i in range(3000)}, **GOOD}),
    "120 KB": text({"x": "y" * 120_000, **GOOD}),
    # Names twice
    "afr_ota twice": b'{"afr_ota":1,' + text(GOOD)[1:], **{f"{m} twice": twice(m) for m in ("protocols", "files", "filepath", "filesize", "fileid",
                                                                                        "certfile", "update_data_url", "sig-sha256-ecdsa")},
    "a name twice elsewhere": text(GOOD)[:-1] + b',"x":{"y":1,"y":2}}',
    # afr_ota
    "afr_ota null": b'{"afr_ota":null}', "afr_ota a number": b'{"afr_ota":17}', "afr_ota a string": b'{"afr_ota":"x"}', "afr_ota an array": b'{"afr_ota":[]}',
    "afr_ota empty": b'{"afr_ota":{}}', "AFR_OTA": text({"AFR_OTA": GOOD["afr_ota"]}), "afr_ota within": text({"x": GOOD}),
    # protocols
    "no protocols": ota(protocols=None), "protocols a string": ota(protocols="HTTP"), "protocols empty": ota(protocols=[]),
    "protocols of numbers": ota(protocols=[1]), "protocols unknown": ota(protocols=["FTP"]), "protocols in small letters": ota(protocols=["http"]),
    "protocols with a blank": ota(protocols=["HTTP "]), "protocols with null": ota(protocols=[None]), "protocols with control characters": ota(protocols=[NASTY]),
    # stream
    "no stream name": stream(streamname=None), "stream name a number": stream(streamname=7), "stream name empty": stream(streamname=""),
    "stream name with a slash": stream(streamname="a/b"), "stream name with a wildcard": stream(streamname="+"), "stream name a hash": stream(streamname="#"),
    "stream name too long": stream(streamname="s" * 129), "stream name with dots": stream(streamname="../x"), "stream name in Greek": stream(streamname="σ"),
    "stream name with control characters": stream(streamname=NASTY),
    # files
    "no files": ota(files=None), "files empty": ota(files=[]), "files an object": ota(files=FILE), "files a string": ota(files="rootfs.img"),
    "11 files": ota(files=[FILE] * 11), "3000 files": ota(files=[0] * 3000), "a file that is null": ota(files=[None]), "a file that is a number": ota(files=[1]),
    "a file that is an array": ota(files=[[FILE]]), "a file that is empty": ota(files=[{}]), "a bad file behind a good one": ota(files=[FILE, {}]),
    "two of one id by MQTT": ota(protocols=["MQTT"], streamname="s", files=[FILE, {**FILE, "filepath": "app"}]),
    # filepath
    "no filepath": file(filepath=...), "filepath null": file(filepath=None), "filepath a number": file(filepath=5), "filepath an array": file(filepath=["rootfs.img"]),
    "filepath empty": file(filepath=""), "filepath too long": file(filepath="p" * 1025), "filepath of 20 KB": file(filepath="p" * 20_000),
    "filepath with an escaped NUL": file(filepath="rootfs.img\0"), "filepath with control characters": file(filepath=NASTY), "filepath with DEL": file(filepath="a\x7f"),
    "filepath with C1": file(filepath="a\x9b"), "filepath upwards": file(filepath="../../etc/passwd"), "filepath absolute": file(filepath="/etc/shadow"),
    "filepath a device": file(filepath="/dev/sda"), "filepath a dot": file(filepath="."), "filepath dots": file(filepath=".."), "filepath a slash": file(filepath="/"),
    "filepath with slashes at its end": file(filepath="rootfs.img/"), "filepath a pattern": file(filepath="*"), "filepath a pattern of characters": file(filepath="[r]ootfs.img"),
    "filepath in capitals": file(filepath="ROOTFS.IMG"), "filepath with a blank": file(filepath="rootfs.img "), "filepath a command": file(filepath="$(reboot)"),
    "filepath with a format": file(filepath="%s%n%999999d"), "filepath with quotes": file(filepath="\"';`|&"), "filepath backwards": file(filepath="\u202egmi.sftoor"),
    # filesize
    "no filesize": file(filesize=...), "filesize null": file(filesize=None), "filesize a string": file(filesize="200000"), "filesize true": file(filesize=True),
    "filesize 0": file(filesize=0), "filesize -0": raw("filesize", b"-0"), "filesize -1": file(filesize=-1), "filesize -2^63": file(filesize=-(1 << 63)),
    "filesize 1.5": file(filesize=1.5), "filesize 1e3": raw("filesize", b"1e3"), "filesize 1e400": raw("filesize", b"1e400"), "filesize 1E-400": raw("filesize", b"1E-400"),
    "filesize 2^53": file(filesize=1 << 53), "filesize 2^53 + 1": file(filesize=(1 << 53) + 1), "filesize 2^64": file(filesize=1 << 64),
    "filesize of 1000 digits": raw("filesize", b"9" * 1000), "filesize 2^40": file(filesize=1 << 40), "filesize a byte too many": file(filesize=(1 << 20) + 1),
    # fileid, fileType
    "no fileid": file(fileid=...), "fileid a string": file(fileid="0"), "fileid 256": file(fileid=256), "fileid -1": file(fileid=-1), "fileid 0.5": file(fileid=0.5),
    "fileType a string": file(fileType="0"), "fileType 256": file(fileType=256), "fileType -1": file(fileType=-1), "fileType an object": file(fileType={}),
    # certfile
    "certfile a number": file(certfile=1), "certfile an object": file(certfile={}), "certfile too long": file(certfile="c" * 1025),
    "certfile of 256 bytes": file(certfile="c" * 256), "certfile with control characters": file(certfile=NASTY), "certfile with an escaped NUL": file(certfile="a\0b"),
    "certfile upwards": file(certfile="../stranger.pem"), "certfile upwards, deep": file(certfile="../" * 50 + "etc/passwd"), "certfile absolute": file(certfile="/etc/passwd"),
    "certfile a folder": file(certfile="chain/"), "certfile dots": file(certfile=".."), "certfile a pattern": file(certfile="*.pem"), "certfile hidden": file(certfile=".pem"),
    "certfile with a format": file(certfile="%n%n.pem"), "certfile a command": file(certfile="`id`.pem"), "certfile of nobody": file(certfile="nobody.pem"),
    # url
    "no url": file(update_data_url=...), "url a number": file(update_data_url=1), "url empty": file(update_data_url=""), "url too long": file(update_data_url="https://h/" + "x" * 8192),
    "url by http": file(update_data_url="http://localhost/x"), "url by ftp": file(update_data_url="ftp://localhost/x"), "url to a file": file(update_data_url="file:///etc/passwd"),
    "url without a host": file(update_data_url="https://"), "url with a path only": file(update_data_url="https:///x"), "url with a user": file(update_data_url="https://a:b@localhost/x"),
    "url with a blank": file(update_data_url="https://localhost/x y"), "url with a line end": file(update_data_url="https://localhost/x\r\nHost: evil"),
    "url with control characters": file(update_data_url="https://localhost/" + NASTY), "url in Greek": file(update_data_url="https://λ/x"),
    "url in capitals": file(update_data_url="HTTPS://localhost/x"), "url with a port of 99999": file(update_data_url="https://localhost:99999/x"),
    "url of a placeholder": file(update_data_url="${aws:iot:s3-presigned-url:https://s3/x}"), "auth scheme a number": file(auth_scheme=1),
    "auth scheme unknown": file(auth_scheme="basic"), "auth scheme with control characters": file(auth_scheme=NASTY),
    # signature
    "no signature": file(sig_sha256_ecdsa=...), "signature a number": file(sig_sha256_ecdsa=1), "signature empty": file(sig_sha256_ecdsa=""),
    "signature no base64": file(sig_sha256_ecdsa="!!!!"), "signature without padding": file(sig_sha256_ecdsa="MAYCAQECAQ"), "signature with blanks": file(sig_sha256_ecdsa="MA YC"),
    "signature of the URL's alphabet": file(sig_sha256_ecdsa="_-_-"), "signature with line ends": file(sig_sha256_ecdsa="MAYC\r\nAQEC"), "signature too long": file(sig_sha256_ecdsa="A" * 4000),
    "signature of one byte": file(sig_sha256_ecdsa="AA=="), "signature of zeros": file(sig_sha256_ecdsa="A" * 96), "signature for RSA": file(sig_sha256_ecdsa=..., sig_sha256_rsa=SIGNATURE),
    "two signatures": file(sig_sha256_rsa=SIGNATURE), "signature of unknown kind": file(**{"sig-md5-rsa": "AA=="}), "signature by SHA-1": file(sig_sha256_ecdsa=..., **{"sig-sha1-ecdsa": SIGNATURE}),
    "a signature's name of 20 KB": file(**{"sig-" + "x" * 20_000: "AA=="}),
    "signature of a kind with control characters": file(**{"sig-" + NASTY: "AA=="}), "signature that is not its image's": file(),
}

# More than a message of MQTT may have at AWS: these never get as far as otad.
TOO_LARGE = {"140 KB": text({"x": "y" * 140_000, **GOOD}), "10 MB": text({"x": "y" * 10_000_000, **GOOD}), "10 MB of afr_ota": ota(x="y" * 10_000_000)}
