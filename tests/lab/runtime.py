#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""tenbox-runtime by itself, on real KVM: a second, independent implementation of the controller's end of
tenbox-runtime/control-protocol.h boots stock kernels with it. Run in the lab; prints TAP.

    ./dev lab -- tests/lab/runtime.py
    ./dev lab --arch aarch64 --gic 3 -- tests/lab/runtime.py

What stands above the runtime (daemon, library, command line) is tested by hello.sh; a failure here and not
there, or the other way round, says which side of the control socket is to blame.
"""
import fcntl
import mmap
import os
import platform
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MACHINE = platform.machine()
LONG = bool(os.environ.get("TENBOX_TEST_LONG"))
HANG_SECONDS = 240
RING_SIZE = 262144
CONSOLE = "console=ttyS0" if MACHINE == "x86_64" else "console=ttyAMA0"
LAUNCH, HELLO, REFUSED, REPLY, STATE, CONSOLE_OUTPUT, CONSOLE_CREDIT, RESET_DONE, STATISTICS = \
    1, 2, 16, 17, 18, 19, 20, 21, 22
POWER_BUTTON, POWER_OFF, RESET, PAUSE, RESUME, CONSOLE_INPUT, CONSOLE_SEEN, GET_STATISTICS, START = \
    32, 33, 34, 35, 36, 37, 38, 39, 40
CREATED, RUNNING, PAUSING, PAUSED, STOPPED = 1, 2, 3, 4, 5

count = failed = 0


def ok(condition, what, detail=""):
    global count, failed
    count += 1
    print(f"{'ok' if condition else 'not ok'} {count} - {what}")
    if not condition:
        failed += 1
        for line in str(detail).splitlines()[-15:]:
            print(f"# {line}")
    sys.stdout.flush()
    return condition


def text_of(raw):
    return raw.split(b"\0", 1)[0].decode("ascii", "replace")


def find_runtime():
    found = shutil.which("tenbox-runtime")
    if found:
        return found
    return os.path.join(ROOT, "build/native/tenbox-runtime/tenbox-runtime")


class Runtime:
    """One tenbox-runtime, launched; `state`, `console` and the like are what it has said so far."""

    def __init__(self, kernel, initrd=None, memory_mb=512, cpus=1, cmdline="", start=True):
        self.console = b""
        self.state = None
        self.exit_name = self.refusal = None
        self.resets = 0
        self.replies = {}
        self.statistics = None
        self.position = 0
        self.serial = 0
        self.ended = False
        self.folder = tempfile.mkdtemp(prefix="runtime-test-")
        self.control_path = os.path.join(self.folder, "control.sock")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.control_path)
        listener.listen(4)
        ring = os.memfd_create("ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(ring, 4096 + RING_SIZE)
        fcntl.fcntl(ring, 1033, 1 | 2 | 4)  # F_ADD_SEALS: SEAL, SHRINK, GROW
        self.ring = mmap.mmap(ring, 4096 + RING_SIZE)
        log = os.open(os.path.join(self.folder, "runtime.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Descriptor 3 in the child, whatever its number is here; it closes all others itself.
        self.process = subprocess.Popen(
            [find_runtime()], env={}, close_fds=False, preexec_fn=lambda: os.dup2(theirs.fileno(), 3),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        theirs.close()
        descriptors = [(1, os.open("/dev/kvm", os.O_RDWR)), (2, os.open(kernel, os.O_RDONLY))]
        if initrd:
            descriptors.append((3, os.open(initrd, os.O_RDONLY)))
        descriptors += [(4, ring), (5, listener.fileno()), (6, log)]
        line = cmdline.encode()
        kinds = bytes(kind for kind, _ in descriptors).ljust(16, b"\0")
        body = struct.pack("<IIIIQII", 0x7862746E, 1, 1, cpus, memory_mb << 20, len(descriptors), len(line)) + \
            kinds + b"0e0f7a1c-3d55-4a7e-9a52-6f2d0c0d9a11".ljust(40, b"\0") + struct.pack("<II", 0, 0) + line
        socket.send_fds(self.socket, [struct.pack("<HHIII", LAUNCH, 0, 16 + len(body), 0, 0) + body],
                        [fd for _, fd in descriptors])
        for _, fd in descriptors:
            if fd != listener.fileno():
                os.close(fd)
        listener.close()
        self.wait_for(lambda: self.state == CREATED or self.refusal or self.ended, "the launch")
        if start and self.state == CREATED:
            self.request(START)

    def log(self):
        with open(os.path.join(self.folder, "runtime.log"), encoding="utf-8", errors="replace") as stream:
            return stream.read()

    def request(self, kind):
        self.serial += 1
        self.socket.send(struct.pack("<HHIII", kind, 0, 16, self.serial, 0))
        return self.serial

    def ask(self, kind):
        """Sends a request and waits for its reply: the errno."""
        serial = self.request(kind)
        self.wait_for(lambda: serial in self.replies or self.ended, f"the reply to {kind}")
        return self.replies.get(serial)

    def type(self, text):
        data = text.encode()
        self.socket.send(struct.pack("<HHIII", CONSOLE_INPUT, 0, 16 + len(data), 0, 0) + data)

    def read_ring(self):
        written = struct.unpack_from("<Q", self.ring, 0)[0]
        self.position = max(self.position, written - RING_SIZE)
        while self.position < written:
            offset = self.position % RING_SIZE
            piece = min(written - self.position, RING_SIZE - offset)
            self.console += self.ring[4096 + offset:4096 + offset + piece]
            self.position += piece

    def receive(self):
        try:
            datagram, descriptors, _, _ = socket.recv_fds(self.socket, 8192, 4)
        except ConnectionResetError:
            datagram, descriptors = b"", []
        for fd in descriptors:
            os.close(fd)
        if not datagram:
            self.ended = True
            self.read_ring()
            return
        kind, _, _, serial, _ = struct.unpack_from("<HHIII", datagram)
        if kind == STATE:
            self.state = struct.unpack_from("<I", datagram, 16)[0]
            self.exit_name = text_of(datagram[32:64])
        elif kind == REFUSED:
            self.refusal = (struct.unpack_from("<i", datagram, 16)[0], text_of(datagram[20:48]),
                            text_of(datagram[48:]))
        elif kind == REPLY:
            self.replies[serial] = struct.unpack_from("<i", datagram, 16)[0]
        elif kind == RESET_DONE:
            self.resets = struct.unpack_from("<I", datagram, 20)[0]
        elif kind == CONSOLE_OUTPUT:
            self.read_ring()
            try:
                self.socket.send(struct.pack("<HHIII", CONSOLE_SEEN, 0, 16, 0, 0))
            except BrokenPipeError:
                pass
        elif kind == STATISTICS:
            rows = struct.unpack_from("<I", datagram, 36)[0]
            self.statistics = [(text_of(datagram[40 + 32 * i:64 + 32 * i]),
                                struct.unpack_from("<Q", datagram, 64 + 32 * i)[0]) for i in range(rows)]

    def wait_for(self, condition, what):
        """Serves messages until the condition holds. A hang ends the process and fails what follows."""
        end = time.monotonic() + HANG_SECONDS
        while not condition() and not self.ended:
            if not select.select([self.socket], [], [], max(0, end - time.monotonic()))[0]:
                ok(False, f"{what} came within {HANG_SECONDS} s", self.console.decode("utf-8", "replace"))
                self.process.kill()
                self.ended = True
                return False
            self.receive()
        return condition()

    def wait_console(self, text, times=1):
        return self.wait_for(lambda: self.console.count(text.encode()) >= times, f'"{text}" on the console')

    def wait_end(self):
        self.wait_for(lambda: self.ended, "the end of the process")
        return self.process.wait()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        self.ring.close()
        shutil.rmtree(self.folder)


def guest(flavour="13"):
    """The folder of a hello guest, or None where it was not made."""
    name = "hello" if flavour == "13" else f"hello-{flavour}"
    folder = os.path.join(ROOT, "build/guest", MACHINE, name)
    return folder if os.path.exists(os.path.join(folder, "initrd")) else None


def boot(flavour="13", hello="poweroff", cmdline=None, **options):
    folder = guest(flavour)
    if cmdline is None:
        cmdline = f"{CONSOLE} quiet" + (f" hello={hello}" if hello else "")
    return Runtime(os.path.join(folder, "vmlinuz"), os.path.join(folder, "initrd"), cmdline=cmdline, **options)


def hello_line(vm):
    for line in vm.console.decode("utf-8", "replace").splitlines():
        if line.startswith("TENBOX-HELLO"):
            return dict(word.split("=", 1) for word in line.split()[1:])
    return {}


def test_kernels():
    flavours = ["13", "12-cloud"] if not LONG else ["13", "13-cloud", "12", "12-cloud"]
    for flavour in flavours:
        if guest(flavour) is None:
            print(f"# the hello guest with kernel {flavour} was not made")
            continue
        vm = boot(flavour)
        status = vm.wait_end()
        ok(vm.state == STOPPED and vm.exit_name == "guest-power-off" and status == 0 and
           hello_line(vm).get("machine") == MACHINE,
           f"Debian {flavour}: boots to init and powers off ({hello_line(vm).get('kernel')})",
           vm.console.decode("utf-8", "replace") + vm.log())
        vm.close()


def test_sizes():
    for cpus, memory in [(4, 512), (8, 1024)]:
        vm = boot(cpus=cpus, memory_mb=memory)
        vm.wait_end()
        line = hello_line(vm)
        ok(line.get("cpus") == str(cpus) and memory * 900 < int(line.get("memory_kib", 0)) <= memory * 1024,
           f"{cpus} vCPUs and {memory} MiB are what the guest sees", f"{line}\n{vm.log()}")
        vm.close()
    if MACHINE == "x86_64":
        vm = boot(cpus=64, memory_mb=1024, cmdline=f"{CONSOLE} quiet hello=poweroff maxcpus=4")
        vm.wait_end()
        line = hello_line(vm)
        ok(line.get("cpus") == "4" and line.get("possible") == "0-63",
           "64 vCPUs with maxcpus=4: possible CPUs are 0-63", f"{line}\n{vm.log()}")
        vm.close()


def has_gicv2():
    """KVM's own limit with GICv2 is 8 vCPUs (KVM_CAP_MAX_VCPUS)."""
    with open("/dev/kvm", "rb") as kvm:
        return fcntl.ioctl(kvm, 0xAE03, 66) == 8


def test_reboot():
    vm = boot(hello="reboot")
    pid = vm.process.pid
    wanted = 10
    # The limit is for one boot each: an emulated host beside a busy neighbour is slow.
    while vm.resets < wanted and not vm.ended:
        seen = vm.resets
        vm.wait_for(lambda: vm.resets > seen, f"reboot {seen + 1}")
    ok(vm.resets >= wanted and vm.process.poll() is None and vm.process.pid == pid,
       f"the guest reboots {wanted} times within one process", vm.console.decode("utf-8", "replace"))
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    vm.wait_for(lambda: vm.resets > wanted, "one more reboot")
    ok(len(os.listdir(f"/proc/{pid}/fd")) == descriptors, f"and holds {descriptors} descriptors as before")
    vm.request(POWER_OFF)
    status = vm.wait_end()
    ok(vm.exit_name == "host-power-off" and status == 0, "power off by the host", vm.exit_name)
    vm.close()


def test_life():
    vm = boot(hello="idle")
    vm.wait_console("TENBOX-HELLO")
    ok(vm.ask(PAUSE) == 0, "pause is accepted")
    vm.wait_for(lambda: vm.state == PAUSED, "the pause")
    ok(vm.state == PAUSED, "and completes")
    ok(vm.ask(PAUSE) == -114, "a second one is -EALREADY")
    ok(vm.ask(POWER_BUTTON) == -16, "the power button of a paused machine is -EBUSY")
    ok(vm.ask(RESUME) == 0 and vm.wait_for(lambda: vm.state == RUNNING, "the resumption"), "resume")
    ok(vm.ask(RESET) == 0 and vm.wait_for(lambda: vm.resets == 1, "the reset"), "reset by the host")
    vm.wait_console("TENBOX-HELLO", 2)
    ok(vm.console.count(b"TENBOX-HELLO") == 2, "the guest boots again")
    vm.ask(POWER_BUTTON)
    status = vm.wait_end()
    ok(vm.exit_name == "guest-power-off" and status == 0, "the guest honours the power button", vm.exit_name)
    vm.close()


def test_console_and_controllers():
    vm = boot(hello=None)
    vm.wait_console("to stop.")
    vm.type("echo one$((1+1))three\n")
    ok(vm.wait_console("one2three"), "the console takes input")

    second = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    second.connect(vm.control_path)
    second.send(struct.pack("<HHIIIIIII", HELLO, 0, 32, 0, 0, 1, 1, 0, 0))
    vm.wait_for(lambda: vm.ended, "the end of the first connection")
    ok(vm.ended and vm.process.poll() is None, "a new controller replaces the old one, the VM goes on")
    datagram, descriptors, _, _ = socket.recv_fds(second, 8192, 4)
    ok(struct.unpack_from("<H", datagram)[0] == HELLO and len(descriptors) == 1,
       "and is greeted with the console ring")
    ring = mmap.mmap(descriptors[0], 4096 + RING_SIZE, prot=mmap.PROT_READ)
    ok(b"one2three" in ring[4096:], "which holds what was printed before it came")
    ring.close()
    os.close(descriptors[0])

    vm.socket.close()
    vm.socket = second
    vm.ended = False
    vm.type("poweroff -f\n")
    vm.wait_end()
    ok(vm.exit_name == "guest-power-off", "and can type", vm.exit_name)
    vm.close()


def test_crash():
    vm = boot(hello="idle")
    vm.wait_console("TENBOX-HELLO")
    with open(f"/proc/{vm.process.pid}/status", encoding="ascii") as stream:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
    ok(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", "no new privileges, a filter on the main thread")
    threads = os.listdir(f"/proc/{vm.process.pid}/task")
    filtered = 0
    for thread in threads:
        with open(f"/proc/{vm.process.pid}/task/{thread}/status", encoding="ascii") as stream:
            filtered += "Seccomp:\t2" in stream.read()
    ok(filtered == len(threads), f"and on each of its {len(threads)} threads")
    with open(f"/proc/{vm.process.pid}/environ", "rb") as stream:
        ok(stream.read() == b"", "an empty environment")
    vm.process.send_signal(signal.SIGKILL)
    vm.wait_for(lambda: vm.ended, "the end of the connection")
    ok(vm.process.wait() == -signal.SIGKILL and vm.state == RUNNING, "kill -9: gone without a word")
    vm.close()


def test_abandoned():
    """Nobody but the launcher knows of a machine whose guest was never let go."""
    vm = boot(hello="idle", start=False)
    ok(vm.state == CREATED, "a machine is built and waits for its start")
    vm.socket.close()
    try:
        status = vm.process.wait(HANG_SECONDS)
    except subprocess.TimeoutExpired:
        status = "none: it goes on"
    ok(status == 0, "it ends when its launcher is gone", f"exit status {status}\n{vm.log()}")
    vm.close()


def refused(what, field, kernel=None, initrd=None, **options):
    folder = guest()
    vm = Runtime(kernel or os.path.join(folder, "vmlinuz"), initrd or os.path.join(folder, "initrd"),
                 start=False, **options)
    status = vm.wait_end()
    ok(vm.refusal is not None and vm.refusal[1] == field and len(vm.refusal[2]) >= 8 and status == 1,
       f"{what} is refused: {vm.refusal[1] if vm.refusal else '?'}: {vm.refusal[2] if vm.refusal else '?'}",
       f"{vm.refusal} status {status}\n{vm.log()}")
    vm.close()


def test_bad_input():
    folder = tempfile.mkdtemp(prefix="runtime-input-")

    def file(name, content):
        path = os.path.join(folder, name)
        with open(path, "wb") as stream:
            stream.write(content)
        return path

    with open(os.path.join(guest(), "vmlinuz"), "rb") as stream:
        kernel = stream.read()
    refused("an empty kernel", "kernel", kernel=file("empty", b""))
    refused("a truncated kernel", "kernel", kernel=file("truncated", kernel[:100000]))
    refused("a kernel of 200 bytes", "kernel", kernel=file("short", kernel[:200]))
    refused("garbage as kernel", "kernel", kernel=file("garbage", os.urandom(1 << 20)))
    refused("a text as kernel", "kernel", kernel=file("text", b"#!/bin/sh\necho hello\n" * 1000))
    refused("an empty initrd", "initrd", initrd=file("empty-initrd", b""))
    with open("/proc/meminfo", encoding="ascii") as stream:
        host_mb = int(stream.readline().split()[1]) // 1024
    refused("more memory than the host has", "memory_mb", memory_mb=host_mb * 4)
    refused("memory 0", "memory_mb", memory_mb=0)
    refused("no vCPU", "cpu_count", cpus=0)
    refused("65 vCPUs", "cpu_count", cpus=65)
    if MACHINE == "aarch64" and has_gicv2():
        refused("9 vCPUs on GICv2", "cpu_count", cpus=9)
    refused("an over-long command line", "cmdline", cmdline="x" * 2048)
    shutil.rmtree(folder)


def test_exits():
    vm = boot(hello="signal")
    vm.wait_end()
    rows = [row for row in vm.statistics or [] if row[0] != "serial-data"]
    console = sum(number for name, number in vm.statistics or [] if name == "serial-data")
    total = sum(number for _, number in rows)
    print(f"# exits to user space from power-on to init, console bytes ({console}) apart:")
    for name, number in sorted(rows, key=lambda row: -row[1]):
        print(f"# {number:6d}  {name}")
    ok(vm.statistics is not None and 0 < total <= 500, f"at most 500 exits to init: {total}", vm.log())
    vm.close()


def main():
    if guest() is None:
        print(f"1..0 # SKIP no hello guest: ./dev guest hello --arch {MACHINE}")
        return 0
    tests = [test_kernels, test_exits, test_life, test_console_and_controllers, test_crash, test_abandoned,
             test_bad_input, test_sizes, test_reboot]
    chosen = sys.argv[1:]
    for test in tests:
        if not chosen or test.__name__.removeprefix("test_") in chosen:
            test()
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
