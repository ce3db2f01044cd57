// openai 7.57.0 (npm): completions, tools, structured output, responses.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const told = JSON.parse(process.env.WEIR_CLIENT_SUITE);
const client = new OpenAI({ baseURL: `${told.real}/v1`, apiKey: "none" });
const messages = [{ role: "user", content: "How do I return an order?" }];
const schema = {
  type: "object",
  properties: { size: { enum: ["small", "large"] } },
  required: ["size"],
  additionalProperties: false,
};
const base = { model: told.model, messages, max_tokens: 300 };

test("a list of prompts is answered in order", async () => {
  const prompt = ["How do I return an order?", "When will it arrive?"];
  const said = await client.completions.create({ model: told.model, prompt, max_tokens: 6 });
  assert.deepEqual(said.choices.map((choice) => choice.index), [0, 1]);
});

test("a tool call is streamed and put together", async () => {
  const tools = [{ type: "function", function: { name: "pick", parameters: schema } }];
  const run = client.chat.completions.stream({ ...base, tools, tool_choice: "required" });
  const { message, finish_reason } = (await run.finalChatCompletion()).choices[0];
  assert.ok(["small", "large"].includes(JSON.parse(message.tool_calls[0].function.arguments).size));
  assert.equal(finish_reason, "tool_calls");
});

test("an answer is held to a schema", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "pick", schema, strict: true } };
  const said = await client.chat.completions.create({ ...base, response_format });
  assert.ok(["small", "large"].includes(JSON.parse(said.choices[0].message.content).size));
});

test("several answers with log-probabilities", async () => {
  const said = await client.chat.completions.create({ ...base, n: 2, max_tokens: 5, logprobs: true, top_logprobs: 2 });
  assert.equal(said.choices.length, 2);
  assert.equal(said.choices[1].logprobs.content[0].top_logprobs.length, 2);
});
