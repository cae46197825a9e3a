// Consumes an event stream with nothing but streams.proto and docs/protocol.md: prints each event as a line of JSON and
// keeps its positions in a file, so that it goes on where it stopped.
//
//   node consumer.js host:port stream_id positions.json streams.proto [tag …]
//
// Tags, where given, are a filter: only entities with such an event.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { decode } from "@msgpack/msgpack";

const [target, streamId, file, proto, ...tags] = process.argv.slice(2);
// Offsets as strings: they have 63 bits, a number of JavaScript 53.
const definition = protoLoader.loadSync(proto, { keepCase: true, longs: String, defaults: true, oneofs: true });
const { EventStreams } = grpc.loadPackageDefinition(definition).thespian_dc.v1;
const kept = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { journal_id: "", positions: {} };

const call = new EventStreams(target, grpc.credentials.createInsecure()).Pull();
call.write({
  start: {
    protocol: 1, stream_id: streamId, consumer: "foreign", journal_id: kept.journal_id, heartbeat_ms: 2000,
    credit: { bytes: 1 << 20, events: 1000 },
    positions: Object.entries(kept.positions).map(([slice, at]) => (
      { slice: Number(slice), offset: at.offset, write_id: Buffer.from(at.write_id, "hex") })),
    filter: tags.length ? { version: 1, exclude: { regexes: [".*"] }, include: { tags } } : null,
  },
});
const beat = setInterval(() => call.write({ beat: { time_us: Date.now() * 1000 } }), 2000);

call.on("data", (message) => {
  if (message.message === "started") {
    kept.journal_id = message.started.journal_id;
    for (let slice = 0; slice < message.started.slices; slice += 1) kept.positions[slice] ??= { offset: "0", write_id: "" };
  } else if (message.message === "batch") {
    const cost = handle(message.batch); // all of it, before its position is kept and its credit given back
    writeFileSync(`${file}.new`, JSON.stringify(kept));
    renameSync(`${file}.new`, file);
    if (cost.events) call.write({ credit: cost });
  }
});
call.on("error", (error) => {
  console.error(`${error.code} ${error.details}`); // which named error: in metadata thespian-dc-problem-bin
  process.exitCode = 1;
});
call.on("status", () => clearInterval(beat)); // the call ended

function handle(batch) {
  const expected = BigInt(kept.positions[batch.slice].offset), base = BigInt(batch.base_offset);
  if (base !== expected) throw new Error(`slice ${batch.slice}: ${base} does not continue ${expected}`);
  const cost = { bytes: 0, events: 0 };
  for (const part of batch.commits) {
    if (crc32(part.body) !== part.body_crc) throw new Error(`slice ${batch.slice}: damaged at ${part.first_offset}`);
    const records = part.body.length ? decode(part.body) : []; // one array: kind, entity_id, seq_nr, manifest, payload, tags, …
    records.forEach(([, entity_id, seq_nr, manifest, payload, tags], index) => {
      const offset = BigInt(part.first_offset) + BigInt(part.kept.length ? part.kept[index] : index);
      if (offset < base) return; // the part of the commit that an earlier batch brought
      cost.events += 1;
      const event = { slice: batch.slice, offset: String(offset), entity_id, seq_nr, manifest, tags, payload: decode(payload) };
      console.log(JSON.stringify(event));
    });
    cost.bytes += part.body.length;
    kept.positions[batch.slice] = { offset: part.end_offset, write_id: part.write_id.toString("hex") };
  }
  return cost;
}
