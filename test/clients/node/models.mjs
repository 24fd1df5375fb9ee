// Clients that read one answer to a POST, most of them for language models. Each shows the texts of the answer one by one.
import Anthropic from '@anthropic-ai/sdk';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { ChatOpenAI } from '@langchain/openai';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { streamText } from 'ai';
import { Ollama } from 'ollama';
import OpenAI from 'openai';
import OldOpenAI from 'openai-old';

const messages = [{ role: 'user', content: 'hello' }];

const openai = SDK => async ({ base, path }, report) => {
  const client = new SDK({ baseURL: base + path, apiKey: 'none', maxRetries: 0 });
  for await (const chunk of await client.chat.completions.create({ model: 'm', messages, stream: true })) {
    const text = chunk.choices[0]?.delta?.content;
    if (text) report.shown.push(text);
  }
};

export const modelClients = {
  openai: openai(OpenAI),
  'openai-old': openai(OldOpenAI),
  async anthropic({ base, path }, report) {
    const client = new Anthropic({ baseURL: base + path, apiKey: 'none', maxRetries: 0 });
    for await (const event of await client.messages.create({ model: 'm', max_tokens: 9, messages, stream: true })) {
      if (event.type === 'content_block_delta') report.shown.push(event.delta.text);
    }
  },
  async langchain({ base, path }, report) {
    const model = new ChatOpenAI({ model: 'm', apiKey: 'none', maxRetries: 0, configuration: { baseURL: base + path } });
    for await (const chunk of await model.stream('hello')) {
      if (chunk.content) report.shown.push(chunk.content);
    }
  },
  async ai({ base, path }, report) {
    const provider = createOpenAICompatible({ name: 'm', baseURL: base + path });
    const { fullStream } = streamText({ model: provider('m'), prompt: 'hello', maxRetries: 0, onError() {} });
    for await (const part of fullStream) {
      if (part.type === 'text-delta') report.shown.push(part.text);
      if (part.type === 'error') throw part.error;
    }
  },
  async ollama({ base, path }, report) {
    const client = new Ollama({ host: base + path });
    for await (const part of await client.chat({ model: 'm', messages, stream: true })) {
      if (part.message.content) report.shown.push(part.message.content);
    }
  },
  async mcp({ base, path, patience }, report) {
    const client = new Client({ name: 'matrix', version: '1' });
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => { report.shown.push(params.data); });
    await client.connect(new StreamableHTTPClientTransport(new URL(base + path)));
    try {
      await client.callTool({ name: 't', arguments: {} }, undefined, { timeout: patience });
    } finally {
      await client.close();
    }
  },
};
