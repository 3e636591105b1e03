// SPDX-License-Identifier: MIT
// Boots a guest and waits until it says hello: gjs -m hello.js KERNEL INITRD [URI]
import Gio from 'gi://Gio';
import GLib from 'gi://GLib';
import Tenbox from 'gi://Tenbox?version=0';
import System from 'system';

Gio._promisify(Tenbox.Connection, 'open_async', 'open_finish');
Gio._promisify(Tenbox.Connection.prototype, 'create_vm_async', 'create_vm_finish');
for (const verb of ['start', 'stop', 'delete', 'open_console'])
    Gio._promisify(Tenbox.Vm.prototype, `${verb}_async`, `${verb}_finish`);

function heardHello(console) {
    return new Promise(resolve => {
        let shown = '';
        console.connect('output', (_console, bytes) => {
            // However it spells it.
            shown += new TextDecoder().decode(bytes.get_data()).toLowerCase();
            if (shown.includes('hello'))
                resolve(true);
        });
        console.connect('closed', () => resolve(false));
    });
}

async function main(kernel, initrd, uri = null) {
    const connection = await Tenbox.Connection.open_async(uri, Tenbox.ConnectionFlags.NONE, null);
    const builder = Tenbox.VmConfigBuilder.new();
    builder.set_name(`hello-javascript-${new Gio.Credentials().get_unix_pid()}`);
    // The daemon has another current folder.
    builder.set_kernel(Gio.File.new_for_commandline_arg(kernel).get_path());
    builder.set_initrd(Gio.File.new_for_commandline_arg(initrd).get_path());
    builder.set_memory_mb(256);
    builder.set_cpu_count(1);
    const vm = await connection.create_vm_async(builder.build(), null);
    vm.connect('notify::state',
        () => print(`${vm.name} is ${Tenbox.VmState.to_string(vm.state)}`));
    let saidHello = false;
    try {
        await vm.start_async(Tenbox.VmActionFlags.NONE, null);
        const console = await vm.open_console_async(Tenbox.ConsoleFlags.NONE, null);
        saidHello = await heardHello(console);
        console.close();
        print(saidHello ? 'the guest says hello' : 'the guest ended silently');
        await vm.stop_async(Tenbox.VmActionFlags.NONE, Tenbox.VM_STOP_TIMEOUT_DEFAULT, null);
    } finally {
        await vm.delete_async(Tenbox.VmActionFlags.FORCE, null);
    }
    print('deleted');
    return saidHello ? 0 : 1;
}

if (ARGV.length < 2 || ARGV.length > 3) {
    printerr('usage: gjs -m hello.js KERNEL INITRD [URI]');
    System.exit(2);
}
const loop = GLib.MainLoop.new(null, false);
let status = 1;
main(...ARGV).then(result => (status = result), error => {
    printerr(`${error.message} (${Tenbox.error_get_code(error)})`);
}).finally(() => loop.quit());
loop.run();
System.exit(status);
