"""otad-cloud: the stand-in by hand, to try otad without an AWS account."""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from . import control
from .broker import BrokerError
from .cloud import Cloud

EPILOG = """\
a first update, in two terminals:

  otad-cloud start --dir /tmp/cloud --thing gateway-1
  otad-cloud queue --dir /tmp/cloud --thing gateway-1 --file new.img --name rootfs.img
  otad-cloud status --dir /tmp/cloud

The device needs the endpoint, port and certificates that `start` prints (also in DIR/cloud.json), and the signer's
certificate that `queue` prints in its trust store.
"""


def parser():
    top = argparse.ArgumentParser(prog="otad-cloud", description="A local stand-in for AWS IoT Core.", epilog=EPILOG,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, text, run):
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--dir", required=True, type=Path, help="folder of the stand-in: certificates, log, socket")
        sub.set_defaults(run=run)
        return sub

    start = command("start", "run the stand-in in the foreground until Ctrl-C", run_start)
    start.add_argument("--thing", action="append", default=[], metavar="NAME",
                       help="make this device; may be given several times")
    start.add_argument("--port", type=int, default=18883, help="MQTT port (default 18883; 0: any free one)")
    start.add_argument("--https-port", type=int, default=18443, help="HTTPS port (default 18443; 0: any free one)")
    start.add_argument("--throttle", action="store_true", help="be as slow as AWS: 512 KB/s, 100 messages/s")
    start.add_argument("--seconds-per-minute", type=float, default=60.0, metavar="N",
                       help="let job and step time-outs run faster (default 60)")

    add = command("add-thing", "make a device and its certificate", run_add_thing)
    add.add_argument("thing", metavar="NAME")

    queue = command("queue", "queue an OTA job with a signed image", run_queue)
    queue.add_argument("--thing", required=True, help="the device to update")
    queue.add_argument("--file", required=True, type=Path, help="the image")
    queue.add_argument("--name", help="file path told in the job, what otad's target pattern is matched with "
                       "(default: the image's file name)")
    queue.add_argument("--protocol", choices=sorted(control.PROTOCOLS), default="both", help="what the job offers")
    queue.add_argument("--sign-with", default="codesign", metavar="NAME",
                       help="code signer, made when first used (default codesign)")
    queue.add_argument("--unsigned", action="store_true", help="send no signature at all")
    queue.add_argument("--cert-name", help="certificate name told in the job (default: the signer's name and .pem)")
    queue.add_argument("--timeout-minutes", type=int, help="in-progress time-out of the job")
    queue.add_argument("--retries", type=int, help="how often a failed or timed-out execution is tried again")
    queue.add_argument("--expires", type=int, default=1800, help="life of download links in seconds (60 to 3600)")

    job = command("queue-document", "queue a job with any JSON document", run_queue_document)
    job.add_argument("--thing", required=True)
    job.add_argument("--document", required=True, type=Path, help="file with the document")

    for name, text in (("cancel", "cancel a job"), ("delete", "delete a job and its history")):
        sub = command(name, text, run_cancel if name == "cancel" else run_delete)
        sub.add_argument("job", help="job id, as `queue` and `status` print it")
        sub.add_argument("--force", action="store_true", help="also where it is in progress")

    status = command("status", "show devices, jobs with their histories, and what AWS would have refused", run_status)
    status.add_argument("--json", action="store_true", help="for scripts")
    return top


def run_start(args):
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Cloud(args.dir, port=args.port or None, https_port=args.https_port, throttle=args.throttle,
               seconds_per_minute=args.seconds_per_minute) as cloud:
        known = sorted(p.stem for p in (cloud.folder / "pki" / "things").glob("*.pem"))
        for name in dict.fromkeys([*known, *args.thing]):
            cloud.add_thing(name)
        server = control.Control(cloud)
        try:
            write_summary(args.dir, control.describe(cloud))
            print_start(cloud)
            told = 0
            while not stop.wait(0.5):
                for violation in cloud.violations[told:]:
                    print(f"AWS would not have it: {violation}", flush=True)
                    told += 1
        finally:
            server.close()
    return 0


def write_summary(folder, summary):
    (Path(folder) / "cloud.json").write_text(json.dumps(summary, indent=2) + "\n")


def print_start(cloud):
    print(f"endpoint   {cloud.host}\nport       {cloud.port}\nroot CA    {cloud.ca}   (broker and downloads)\n"
          f"messages   {cloud.folder / 'messages.jsonl'}\nsummary    {cloud.folder / 'cloud.json'}")
    for thing in cloud.things.values():
        print(f"thing      {thing.name}\n  cert     {thing.cert}\n  key      {thing.key}")
    if not cloud.things:
        print("no things yet: otad-cloud add-thing --dir DIR NAME")
    print("Ctrl-C ends it; jobs are forgotten then, certificates are kept.", flush=True)


def run_add_thing(args):
    answer = control.call(args.dir, "add-thing", thing=args.thing)
    path = args.dir / "cloud.json"
    summary = json.loads(path.read_text())
    summary["things"][answer["thing"]] = answer
    write_summary(args.dir, summary)
    print("\n".join(f"{k:8} {v}" for k, v in answer.items()))
    return 0


def run_queue(args):
    answer = control.call(args.dir, "queue", thing=args.thing, file=str(args.file.absolute()), name=args.name,
                          protocol=args.protocol, sign_with=None if args.unsigned else args.sign_with,
                          cert_name=args.cert_name, timeout_minutes=args.timeout_minutes, retries=args.retries,
                          expires=args.expires)
    print(f"job {answer['job']}")
    if answer["signer_certificate"]:
        print(f"signed; the device must trust {answer['signer_certificate']}")
    return 0


def run_queue_document(args):
    document = json.loads(args.document.read_text())
    print(f"job {control.call(args.dir, 'queue-document', thing=args.thing, document=document)['job']}")
    return 0


def run_cancel(args):
    control.call(args.dir, "cancel", job=args.job, force=args.force)
    return 0


def run_delete(args):
    control.call(args.dir, "delete", job=args.job, force=args.force)
    return 0


def run_status(args):
    answer = control.call(args.dir, "status")
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    for name, online in answer["things"].items():
        print(f"{name}: {'connected' if online else 'not connected'}")
    print(answer["report"])
    for violation in answer["violations"]:
        print(f"AWS would not have it: {violation}")
    return 0


def main(argv=None):
    args = parser().parse_args(argv)
    try:
        return args.run(args)
    except (control.ControlError, BrokerError, ValueError, OSError) as error:
        print(f"otad-cloud: {error}", file=sys.stderr)
        return 1
