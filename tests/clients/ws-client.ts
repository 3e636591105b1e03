// SPDX-License-Identifier: MIT
// The npm package `ws` on /v1/ws: the console of a running VM and the journal, several channels over one
// socket. Prints TAP points without a plan.
import WebSocket from "ws";

const [socketPath, vmName] = process.argv.slice(2);
if (socketPath === undefined || vmName === undefined) throw new Error("usage: SOCKET VM");
const CONSOLE = 1, EVENTS = 2, BYTES = 1, DOCUMENT = 2, HEADER = 8;
const socket = new WebSocket(`ws+unix:${socketPath}:/v1/ws`);

interface Control { type: string; id?: number; code?: string }

// Messages in the order in which they came, and whoever waits for the next.
const queue: (Control | Buffer)[] = [];
let wake: () => void = () => undefined;
socket.on("message", (data: Buffer, isBinary: boolean) => {
    queue.push(isBinary ? data : JSON.parse(data.toString()) as Control);
    wake();
});
socket.on("close", () => wake());

async function next<T extends Control | Buffer>(wanted: (message: Control | Buffer) => message is T): Promise<T> {
    for (;;) {
        for (let message = queue.shift(); message !== undefined; message = queue.shift())
            if (wanted(message)) return message;
        if (socket.readyState === WebSocket.CLOSED) throw new Error("the daemon closed the socket");
        await new Promise<void>((resolve) => { wake = resolve; });
    }
}

const control = (type: string) => (message: Control | Buffer): message is Control =>
    !Buffer.isBuffer(message) && message.type === type;
const payload = (id: number, kind: number, text: string) => (message: Control | Buffer): message is Buffer =>
    Buffer.isBuffer(message) && message.readUInt8(0) === kind && message.readUInt16LE(2) === id &&
    message.subarray(HEADER).includes(text);

function say(frame: object): void {
    socket.send(JSON.stringify(frame));
}

function point(name: string): void {
    console.log(`ok - ${name}`);
}

await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
point("the handshake");
say({ type: "init", version: 1, extensions: [], max_frame: 65536, window: 262144 });
await next(control("init"));
point("init is answered");
say({ type: "subscribe", id: EVENTS, channel: "events" });
await next(control("ready"));
say({ type: "subscribe", id: CONSOLE, channel: "console", vm_id: vmName });
await next(control("ready"));
point("two channels on one socket");

const header = Buffer.alloc(HEADER);
header.writeUInt8(BYTES, 0);
header.writeUInt16LE(CONSOLE, 2);
socket.send(Buffer.concat([header, Buffer.from("a line from ws\n")]));
await next(payload(CONSOLE, BYTES, "a line from ws"));
point("the console takes input and shows it");

say({ type: "close", id: CONSOLE });
await next(control("close"));
point("one channel closes, the socket stays");
console.log("# changing the VM");
process.stdin.resume().once("end", () => undefined);
await next(payload(EVENTS, DOCUMENT, "vm.changed"));
point("the journal tells of a change that somebody else makes");
socket.close();
await new Promise((resolve) => socket.once("close", resolve));
point("the socket closes in order");
process.exit(0);
