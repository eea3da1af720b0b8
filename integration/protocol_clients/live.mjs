// Calls and streams from a live arbiter: `node live.mjs SOCKET APP_PATH`. Prints what it got as one JSON object.

import { DirtyClient, Float } from "./dirty.mjs";

const [socket, app] = process.argv.slice(2);
const client = new DirtyClient(socket);
const got = {};
got.sum = String(await client.call(app, "add", [20, 22]));
got.echo = [...(await client.call(app, "echo", [new Map([["ü", [null, true, new Float(0.5), Buffer.from([0, 255])]]])])).entries()]
  .map(([key, [none, yes, half, bytes]]) => [key, none, yes, half, bytes.toString("hex")]);
got.keyword = String(await client.call(app, "add", [1], { b: 2 }, { deadline: new Float(30), traceparent: "00-ab-cd-01" }));

got.chunks = [];
for await (const chunk of client.stream(app, "count", [5])) got.chunks.push(String(chunk));

// Leaving the loop cancels the stream; the connection is good for the next call.
for await (const chunk of client.stream(app, "count", [1000000])) if (chunk === 3n) break;
got.after = String(await client.call(app, "add", [1, 1]));

got.together = (await Promise.all([1, 2, 3, 4].map((n) => client.call(app, "add", [n, n])))).map(String);
try { await client.call(app, "fail", ["on purpose"]); } catch (error) { got.error = [error.name, error.message.includes("on purpose")]; }
try { await client.call("nowhere:App", "add"); } catch (error) { got.unknown = error.name; }
client.close();
console.log(JSON.stringify(got));
