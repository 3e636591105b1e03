#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the programs of docs/examples: C, Python and JavaScript, each over test:///, over local:/// and over the
default URI, where a daemon answers. Prints TAP.

    test-examples.py [--kernel FILE --initrd FILE] EXAMPLES LIBRARY-FOLDER TENBOXD RUNTIME C-PROGRAM

LIBRARY-FOLDER has libtenbox.so.0 and the typelib. Without a kernel guests are played: RUNTIME is the fake one.
With one it is the real one, and test:// is left out.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

HANG_SECONDS = 300


def daemon(tenboxd, environment):
    """Starts tenboxd and waits until it is ready."""
    reading, writing = os.pipe()
    process = subprocess.Popen([tenboxd, "--ready-fd", str(writing)], env=environment, pass_fds=[writing])
    os.close(writing)
    word = b""
    while not word.endswith(b"\n"):
        piece = os.read(reading, 16)
        if not piece:
            break
        word += piece
    os.close(reading)
    if word != b"ready\n":
        process.kill()
        process.wait()
        raise RuntimeError("the daemon did not come up")
    return process


def run(command, environment):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS,
                          check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr.strip()


def left_behind(folder):
    vms = os.path.join(folder, "vms")
    return os.listdir(vms) if os.path.isdir(vms) else []


def check_hello(command, environment, data_folder):
    """None, or what is wrong."""
    status, lines, complaints = run(command, environment)
    if status != 0:
        return f"exit status {status}: {complaints}"
    if complaints:
        return f"it complains: {complaints}"
    if "the guest says hello" not in lines or lines[-1:] != ["deleted"]:
        return f"it prints {lines}"
    if data_folder and left_behind(data_folder):
        return f"it leaves {left_behind(data_folder)}"
    return None


def check_refusal(command, environment):
    status, _, complaints = run(command, environment)
    if status != 1 or "insufficient-memory" not in complaints:
        return f"exit status {status}: {complaints}"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel")
    parser.add_argument("--initrd")
    for word in ("examples", "library", "tenboxd", "runtime", "program"):
        parser.add_argument(word)
    arguments = parser.parse_args()
    is_played = arguments.kernel is None

    with tempfile.TemporaryDirectory(prefix="tenbox-test-") as scratch:
        os.chmod(scratch, 0o700)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TENBOX", "XDG"))}
        environment.update({
            "TENBOX_RUNTIME": arguments.runtime,
            "LD_LIBRARY_PATH": arguments.library,
            "GI_TYPELIB_PATH": arguments.library,
            "XDG_RUNTIME_DIR": scratch,
            "XDG_DATA_HOME": os.path.join(scratch, "data"),
            "XDG_CONFIG_HOME": os.path.join(scratch, "config"),
        })
        kernel, initrd = arguments.kernel, arguments.initrd
        if is_played:
            environment["TENBOX_KVM_DEVICE"] = "/dev/null"
            kernel = initrd = os.path.join(scratch, "kernel")
            with open(kernel, "w", encoding="ascii") as file:
                file.write("not quite a kernel")
        languages = {
            "C": [arguments.program],
            "Python": ["/usr/bin/python3", os.path.join(arguments.examples, "hello.py")],
            "JavaScript": ["gjs", "-m", os.path.join(arguments.examples, "hello.js")],
        }
        missing = {}
        if subprocess.run(["/usr/bin/python3", "-c", "import gi"], capture_output=True, check=False).returncode:
            missing["Python"] = "there is no PyGObject (package python3-gi)"
        if shutil.which("gjs") is None:
            missing["JavaScript"] = "there is no gjs"
        if not os.path.exists(os.path.join(arguments.library, "Tenbox-0.typelib")):
            missing.update(dict.fromkeys(("Python", "JavaScript"), "there is no typelib"))

        local = os.path.join(scratch, "local")
        user_data = os.path.join(environment["XDG_DATA_HOME"], "tenbox")
        number, failed = 0, False
        server = daemon(arguments.tenboxd, environment)

        def report(title, problem):
            nonlocal number, failed
            number += 1
            print(f"{'not ok' if problem else 'ok'} {number} {title}")
            if problem:
                print(f"# {problem}")
                failed = True

        for language, command in languages.items():
            uris = [("a daemon", [], user_data), ("local:///", [f"local://{local}"], local)]
            if is_played:
                uris.insert(0, ("test:///", ["test:///empty"], None))
            for title, uri, folder in uris:
                if language in missing:
                    number += 1
                    print(f"ok {number} {language} over {title} # SKIP {missing[language]}")
                    continue
                report(f"{language} over {title}",
                       check_hello(command + [kernel, initrd] + uri, environment, folder))
            if is_played and language not in missing:
                uri = "test:///empty?fault=start:insufficient-memory"
                report(f"{language} tells why a start fails",
                       check_refusal(command + [kernel, initrd, uri], environment))
        server.terminate()
        report("the daemon ends in order", None if server.wait(timeout=HANG_SECONDS) == 0 else "it does not")
        print(f"1..{number}")
    return 1 if failed else 0


sys.exit(main())
