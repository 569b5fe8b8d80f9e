// An editor on the official TypeScript SDK: drive.mjs CWD PROMPTS-AS-JSON COMMAND...
// One JSON line for each update, question and answer; a question gets the first option that allows.
import { spawn } from "node:child_process";
import { Readable, Writable } from "node:stream";
import { client, methods, ndJsonStream } from "@agentclientprotocol/sdk/unstable";

const [cwd, prompts, command, ...words] = process.argv.slice(2);
const say = (kind, value) => console.log(JSON.stringify({ kind, value }));
const agent = spawn(command, words, { cwd, stdio: ["pipe", "pipe", "inherit"] });
const app = client({ name: "drive" })
  .onNotification(methods.client.session.update, ({ params }) => say("update", params))
  .onRequest(methods.client.session.requestPermission, ({ params }) => {
    say("question", params);
    const chosen = params.options.find((each) => each.kind.startsWith("allow"));
    return { outcome: { outcome: "selected", optionId: chosen.optionId } };
  });
await app.connectWith(ndJsonStream(Writable.toWeb(agent.stdin), Readable.toWeb(agent.stdout)), async (context) => {
  const hello = await context.request(methods.agent.initialize, {
    protocolVersion: 1,
    clientInfo: { name: "drive", version: "1" },
    clientCapabilities: { subagents: {}, session: { notices: {} } },
  });
  say("hello", hello);
  const { sessionId } = await context.request(methods.agent.session.new, { cwd, mcpServers: [] });
  for (const text of JSON.parse(prompts)) {
    const prompt = [{ type: "text", text }];
    say("answer", await context.request(methods.agent.session.prompt, { sessionId, prompt }));
  }
});
agent.stdin.end();
