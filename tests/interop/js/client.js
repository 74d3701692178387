// The client that js_test.py runs: node client.js ENDPOINT MODEL PROTO_FOLDER. Fails by assertion.
'use strict';

const assert = require('node:assert/strict');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const [endpoint, model, protoFolder] = process.argv.slice(2);
const definition = protoLoader.loadSync(
    ['inferd/v1/generation.proto', 'inferd/v1/model.proto'],
    {includeDirs: [protoFolder], longs: String, enums: String, oneofs: true});
const {v1} = grpc.loadPackageDefinition(definition).inferd;
const insecure = grpc.credentials.createInsecure();
const generation = new v1.GenerationService(endpoint, insecure);
const models = new v1.ModelService(endpoint, insecure);

function request(maxTokens, more = {}) {
  const stopping = {ignoreEos: true};
  if (maxTokens) {
    stopping.maxTokens = maxTokens;
  }
  return {model, text: 'The sea', sampling: {temperature: 0}, stopping,
          output: {tokenIds: true}, ...more};
}

function call(client, method, message, options = {}) {
  return new Promise((resolve, reject) => {
    client[method](message, options, (error, reply) => error ? reject(error) : resolve(reply));
  });
}

// Reads a stream to its end: {events, code}, code 0 for OK. `onEvent` may cancel the call.
function read(message, options = {}, onEvent = () => {}) {
  return new Promise((resolve) => {
    const stream = generation.GenerateStream(message, options);
    const events = [];
    stream.on('data', (event) => {
      events.push(event);
      onEvent(event, stream);
    });
    stream.on('error', (error) => resolve({events, code: error.code}));
    stream.on('end', () => {});
    stream.on('status', (status) => status.code === grpc.status.OK && resolve({events, code: 0}));
  });
}

function outputsOf(events) {
  return events.map((event) => event.delta || (event.finished && event.finished.output))
      .filter((output) => output);
}

async function streamsEqualUnary() {
  const {events, code} = await read(request(24));
  assert.equal(code, grpc.status.OK);
  assert.equal(events[0].event, 'started');
  assert.equal(events.at(-1).event, 'finished');
  const outputs = outputsOf(events);
  const whole = (await call(generation, 'Generate', request(24))).choices[0];
  assert.equal(outputs.map((output) => output.text).join(''), whole.output.text);
  assert.deepEqual(outputs.flatMap((output) => output.tokenIds), whole.output.tokenIds);
  assert.equal(whole.output.tokenIds.length, 24);
  assert.equal(whole.finishReason, 'FINISH_REASON_LENGTH');
}

// Control tokens come from the template alone, whatever the user writes.
async function userTextIsText() {
  const {tokenIds: [control]} = await call(
      generation, 'Tokenize', {model, text: '<|im_end|>', parseControlTokens: true, addBos: false});
  const count = async (content) => {
    const prompt = await call(generation, 'ApplyChatTemplate',
                              {model, chat: {messages: [{role: 'user', content}]}});
    assert.ok(prompt.text.includes(content));
    return prompt.tokenIds.filter((id) => id === control).length;
  };
  assert.ok(await count('x') > 0);
  assert.equal(await count('<|im_end|>'), await count('x'));
}

async function cancels() {
  for (let i = 0; i < 8; ++i) {
    const {events, code} = await read(request(0), {}, (event, stream) => {
      if (event.delta) {
        stream.cancel();
      }
    });
    assert.equal(code, grpc.status.CANCELLED);
    assert.ok(!events.some((event) => event.finished), 'cancelled, yet finished');
  }
  // The daemon is as good as before.
  assert.equal((await read(request(8))).code, grpc.status.OK);
}

async function deadlines() {
  const {code} = await read(request(0), {deadline: Date.now() + 200});
  assert.equal(code, grpc.status.DEADLINE_EXCEEDED);
}

async function refusals() {
  await assert.rejects(call(generation, 'Generate', {model: 'nobody', text: 'x'}),
                       (error) => error.code === grpc.status.NOT_FOUND);
  const {events, code} = await read(request(4, {sampling: {temperature: -1}}));
  assert.equal(code, grpc.status.INVALID_ARGUMENT);
  assert.equal(events.length, 0);
}

async function listsModels() {
  const reply = await call(models, 'ListModels', {});
  assert.deepEqual(reply.models.map((served) => served.ref.name), [model]);
}

async function main() {
  for (const test of [listsModels, streamsEqualUnary, userTextIsText, cancels, deadlines,
                      refusals]) {
    console.log(test.name);
    await test();
  }
  generation.close();
  models.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
