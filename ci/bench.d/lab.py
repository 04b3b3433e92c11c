"""Set-up and tear-down of a lab on the real clock, beside the same network made by a shell script.

Run in a user namespace of its own (`unshare --user --map-root-user`), whose limit on network namespaces tells when the
kernel has really freed a lab's. Prints JSON.
"""
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from common import HALFOPEN, SCENARIOS, figure, skipped

LIMIT = pathlib.Path("/proc/sys/user/max_net_namespaces")
SCRIPT = pathlib.Path(__file__).with_name("script-lab.sh")
CLONE_NEWNET = 0x40000000
LONGEST_MS = 10_000
SCRIPT_NEEDS = ["ip", "iptables-restore", "sysctl", "unshare"]


class Lab:
    """One lab process: how long each part of its life took, in milliseconds."""

    def __init__(self, job):
        begun = time.monotonic()
        ended = None
        process = subprocess.Popen([HALFOPEN, "__lab"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process.stdin.write(job)
        process.stdin.close()
        for line in process.stdout:
            event = json.loads(line)
            event = event.get("event", {}) if isinstance(event, dict) else {}
            if event.get("event") == "lab_ready":
                self.setup_ms = event["setup_us"] / 1000
                self.from_start_ms = since(begun)
            elif event.get("event") == "case_ended":
                ended = time.monotonic()
        if process.wait() or ended is None:
            sys.exit(f"a lab process did not get to its case's end (exit code {process.returncode})")
        self.teardown_ms = since(ended)
        self.freed_ms = freed(ended)


def script():
    """The shell script's set-up and tear-down, in milliseconds."""
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", SCRIPT]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    setup_ms = int(process.stdout.readline()) / 1000
    ended = time.monotonic()
    process.wait()
    return setup_ms, since(ended), freed(ended)


def freed(begun):
    """Milliseconds until no network namespace of ours is left: with a limit of one, there is room for one again."""
    before = LIMIT.read_text()
    LIMIT.write_text("1")
    while not may_unshare():
        if since(begun) > LONGEST_MS:
            sys.exit(f"a lab's namespaces are still there after {LONGEST_MS} ms")
        time.sleep(0.001)
    took = since(begun)
    LIMIT.write_text(before)
    return took


def may_unshare():
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def since(begun):
    return (time.monotonic() - begun) * 1000


def main(rounds):
    listed = subprocess.run([HALFOPEN, "list", "--json", SCENARIOS / "set-up.yaml"], capture_output=True, check=True)
    plan = json.loads(listed.stdout)[0]["lab"]
    # As `halfopen run` tells it to a lab process (LabJob in src/lab/job.rs).
    shell = {"path": "", "folder": ""}
    job = json.dumps({"lab": plan, "clock": "real", "shell": shell}).encode()
    missing = [program for program in SCRIPT_NEEDS if shutil.which(program) is None]
    labs, scripts = [], []
    # By turns: what else the machine does hits both alike.
    for _ in range(rounds):
        labs.append(Lab(job))
        if not missing:
            scripts.append(script())
    results = [
        figure("lab: set-up", [lab.setup_ms for lab in labs], "ms"),
        figure("lab: set-up, start of its process and namespaces included", [lab.from_start_ms for lab in labs], "ms"),
        figure("lab: tear-down, until its processes are gone", [lab.teardown_ms for lab in labs], "ms"),
        figure("lab: tear-down, until the kernel has freed its namespaces", [lab.freed_ms for lab in labs], "ms"),
    ]
    if missing:
        results.append(skipped("the same network by a shell script", f"{', '.join(missing)} not installed"))
    else:
        setup, gone, all_freed = zip(*scripts)
        by_script = [
            figure("shell script with ip and iptables-restore: set-up", setup, "ms"),
            figure("shell script: tear-down, until its processes are gone", gone, "ms"),
            figure("shell script: tear-down, until the kernel has freed its namespaces", all_freed, "ms"),
        ]
        ratio = by_script[0]["median"] / results[0]["median"]
        results += by_script
        results.append(figure("lab set-up is faster than the script's by", [ratio], "times", goal="≥ 10"))
    json.dump(results, sys.stdout)


main(int(sys.argv[1]))
