#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What SoupServer by itself does with the requests that the daemon refuses. It is printed and never
asserted: a libsoup that gets better, or worse, changes what is printed here and nothing of ours.

    test-bare-soup.py BARE_SOUP
"""
import os
import re
import subprocess
import sys
import tempfile

from attacks import HOST, ROWS
from harness import Connection, Tap

TAP = Tap()


class BareSoup:
    """A SoupServer of its own. Use as a context."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tenbox-http-")
        self.path = os.path.join(self.folder.name, "s")
        self.start()
        return self

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.process = subprocess.Popen([sys.argv[1], self.path], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.version = self.process.stdout.readline().split()[1]

    def __exit__(self, *arguments):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def send(self, data):
        """What comes back for @data until it has ended or nothing more comes for a moment."""
        if self.process.poll() is not None:
            self.start()
        connection = Connection(self.path)
        connection.socket.settimeout(2)
        try:
            connection.send(data)
            connection.shut_down()
            while connection.receive():
                connection.socket.settimeout(0.05)
        except TimeoutError:
            pass
        connection.close()
        return connection.buffer

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def describe(answer):
    if not answer:
        return "closed"
    statuses = re.findall(rb"HTTP/1\.[01] (\d{3})", answer)
    handlers = re.findall(rb"(?i)x-handler: (\w+)", answer)
    text = ", ".join(status.decode() for status in statuses)
    text = text or f"{answer[:20]}"
    return text + (f", served by the handler of {handlers[0].decode()}" if handlers else "")


@TAP.test
def rows():
    """the table of bad requests"""
    with BareSoup() as soup:
        print(f"# libsoup {soup.version}")
        served = 0
        for name, request, _, _ in ROWS:
            answer = soup.send(request.encode("latin-1"))
            served += b"200 OK" in answer
            print(f"# {name}: {describe(answer)}")
        print(f"# {served} of {len(ROWS)} were served, {soup.rss_kib()} KiB at the end")


@TAP.test
def others():
    """ranges, bodies without end, silence"""
    with BareSoup() as soup:
        for ranges in (",".join(["0-"] * 2000), "0-99999"):
            answer = soup.send(f"GET /v1 HTTP/1.1\r\n{HOST}Range: bytes={ranges}\r\n\r\n".encode())
            print(f"# Range of {len(ranges)} bytes: {len(answer)} bytes for 1,000, {describe(answer)}")
        before = soup.rss_kib()
        answer = soup.send(f"POST /v1 HTTP/1.1\r\n{HOST}Content-Length: 33554432\r\n\r\n".encode() +
                           b"x" * 33554432)
        print(f"# a body of 32 MiB: {describe(answer)}, grew by {soup.rss_kib() - before} KiB")
        connection = Connection(soup.path)
        connection.socket.settimeout(2)
        try:
            connection.socket.recv(1)
            print("# a silent client: closed")
        except TimeoutError:
            print("# a silent client: still there after 2 s")
        connection.close()


sys.exit(TAP.main())
