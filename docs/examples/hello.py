#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Boots a guest and waits until it says hello: hello.py KERNEL INITRD [URI]"""
import os
import sys

import gi

gi.require_version("Tenbox", "0")
from gi.repository import GLib, Tenbox  # noqa: E402

LOOP = GLib.MainLoop()


def call(begin, finish, *arguments):
    """Runs one asynchronous call to its end."""
    answers = []

    def on_done(_source, result):
        answers.append(result)
        LOOP.quit()

    begin(*arguments, None, on_done)
    LOOP.run()
    return finish(answers[0])


def wait_for_hello(vm):
    console = call(vm.open_console_async, vm.open_console_finish, Tenbox.ConsoleFlags.NONE)
    shown = bytearray()

    def on_output(_console, data):
        shown.extend(data.get_data().lower())  # however it spells it
        if b"hello" in shown:
            LOOP.quit()

    console.connect("output", on_output)
    console.connect("closed", lambda _console, _error: LOOP.quit())
    LOOP.run()
    console.close()
    return b"hello" in shown


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(f"usage: {sys.argv[0]} KERNEL INITRD [URI]")
    uri = sys.argv[3] if len(sys.argv) > 3 else None
    connection = call(Tenbox.Connection.open_async, Tenbox.Connection.open_finish, uri,
                      Tenbox.ConnectionFlags.NONE)
    builder = Tenbox.VmConfigBuilder.new()
    builder.set_name(f"hello-python-{os.getpid()}")
    # The daemon has another current folder.
    builder.set_kernel(os.path.abspath(sys.argv[1]))
    builder.set_initrd(os.path.abspath(sys.argv[2]))
    builder.set_memory_mb(256)
    builder.set_cpu_count(1)
    vm = call(connection.create_vm_async, connection.create_vm_finish, builder.build())
    vm.connect("notify::state", lambda vm, _spec: print(f"{vm.props.name} is {vm.props.state.value_nick}"))
    try:
        call(vm.start_async, vm.start_finish, Tenbox.VmActionFlags.NONE)
        said_hello = wait_for_hello(vm)
        print("the guest says hello" if said_hello else "the guest ended silently")
        call(vm.stop_async, vm.stop_finish, Tenbox.VmActionFlags.NONE, Tenbox.VM_STOP_TIMEOUT_DEFAULT)
    finally:
        call(vm.delete_async, vm.delete_finish, Tenbox.VmActionFlags.FORCE)
    print("deleted")
    return 0 if said_hello else 1


try:
    sys.exit(main())
except GLib.Error as error:
    sys.exit(f"{error.message} ({Tenbox.error_get_code(error)})")
