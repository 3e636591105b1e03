// SPDX-License-Identifier: MIT
// A client in TypeScript whose types are generated from the schema: whatever it may not do, the compiler
// refuses. It leads a VM through its life; prints TAP points without a plan.
import createClient from "openapi-fetch";
import { Agent, request as send } from "undici";
import type { components, paths } from "./tenbox-v1.js";

type Vm = components["schemas"]["Vm"];
type Operation = components["schemas"]["Operation"];

const [socketPath, kernel] = process.argv.slice(2);
if (socketPath === undefined || kernel === undefined) throw new Error("usage: SOCKET KERNEL");
const dispatcher = new Agent({ connect: { socketPath } });
// Not the platform's fetch: it marks each request with Sec-Fetch-Mode as a browser does, and the Unix
// socket serves no browser.
const client = createClient<paths>({
    baseUrl: "http://localhost",
    fetch: async (request: Request) => {
        const answer = await send(request.url, {
            method: request.method as "GET",
            headers: Object.fromEntries(request.headers),
            body: request.body === null ? null : await request.text(),
            dispatcher,
        });
        return new Response(await answer.body.text(), {
            status: answer.statusCode,
            headers: Object.entries(answer.headers).map(([name, value]) => [name, String(value)]),
        });
    },
});

let failures = 0;
function point(passed: boolean, name: string, detail?: unknown): void {
    console.log(`${passed ? "ok" : "not ok"} - ${name}`);
    if (!passed) {
        failures += 1;
        console.log(`# ${JSON.stringify(detail)}`);
    }
}

async function ended(answer: { data?: Operation; error?: unknown }): Promise<boolean> {
    if (answer.data === undefined) {
        console.log(`# ${JSON.stringify(answer.error)}`);
        return false;
    }
    return answer.data.state === "done";
}

const created = await client.POST("/v1/vms", {
    body: { name: "typed", kernel, memory_mb: 256, cpu_count: 1, description: "made by a generated client" },
});
const vm: Vm | undefined = created.data;
point(vm?.state === "stopped" && vm.name === "typed", "a VM is created", created.error);

const path = { vm: "typed" };
point(await ended(await client.POST("/v1/vms/{vm}:start", { params: { path, query: { wait: 60 } } })), "it starts");
const running = await client.GET("/v1/vms/{vm}", { params: { path } });
point(running.data?.state === "running", "it runs", running);
const again = await client.POST("/v1/vms/{vm}:start", { params: { path } });
point(again.error?.code === "vm-not-stopped", "a refusal is a typed problem", again);
const list = await client.GET("/v1/vms");
point(list.data?.items.length === 1, "it is listed", list);
point(await ended(await client.POST("/v1/vms/{vm}:stop", {
    params: { path, query: { wait: 60 } }, body: { force: true },
})), "it stops");
const patched = await client.PATCH("/v1/vms/{vm}", { params: { path }, body: { description: null } });
point(patched.data?.description === "", "null puts a member back to its default", patched);
point(await ended(await client.DELETE("/v1/vms/{vm}", { params: { path, query: { wait: 60 } } })), "it is deleted");
const gone = await client.GET("/v1/vms/{vm}", { params: { path } });
point(gone.error?.code === "vm-not-found", "and gone", gone);
await dispatcher.close();
process.exitCode = failures === 0 ? 0 : 1;
