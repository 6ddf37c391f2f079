// Large objects, checksums of every kind, and a tree of files.

import assert from "node:assert/strict";
import { createReadStream, createWriteStream, promises as files } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import test from "node:test";
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  NotFound,
  UploadPartCommand,
  paginateListObjectsV2,
  paginateListParts,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { MEDIUM_BYTES, MIB, fails, get, newBucket, newClient, newClientOnce, put, same, someBytes } from "./service.mjs";

// The check value of each algorithm: its checksum of this body, as the catalogues of checksums give it.
const CHECKED = "123456789";
const CHECK_VALUES = {
  CRC32: "y/Q5Jg==",
  CRC32C: "4waSgw==",
  CRC64NVME: "rosUhgp5mIg=",
  SHA1: "98O8HYCOBHMq32eZZczDTKeuNEE=",
  SHA256: "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
};

function checksums(said) {
  return Object.fromEntries(
    Object.keys(CHECK_VALUES).flatMap((name) => (said[`Checksum${name}`] === undefined ? [] : [[name, said[`Checksum${name}`]]])),
  );
}

test("checksums", async (t) => {
  const supported = newClientOnce();
  const required = newClientOnce({ requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED" });
  const Bucket = await newBucket(t, supported);
  const Key = "key";
  const stored = async (client, expected) => {
    // Where the client asks for checksums, as it does by default, it verifies the body by what the service has stored.
    assert.equal((await get(client, { Bucket, Key })).toString(), CHECKED);
    const head = await client.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
    assert.deepEqual(checksums(head), expected);
  };
  for (const [name, client] of Object.entries({ "when supported": supported, "when required": required })) {
    for (const [algorithm, value] of Object.entries(CHECK_VALUES)) {
      await t.test(`${name} ${algorithm}`, async () => {
        await put(client, Bucket, Key, CHECKED, { ChecksumAlgorithm: algorithm });
        await stored(client, { [algorithm]: value });
      });
      await t.test(`${name} ${algorithm} of a stream`, async () => {
        const more = { ChecksumAlgorithm: algorithm, ContentLength: CHECKED.length };
        await put(client, Bucket, Key, Readable.from([Buffer.from(CHECKED)]), more);
        await stored(client, { [algorithm]: value });
      });
    }
    await t.test(`${name} a wrong one is refused`, async () => {
      await fails(400, "BadDigest", put(client, Bucket, "wrong", "other", { ChecksumCRC32: CHECK_VALUES.CRC32 }));
      await fails(404, "NotFound", client.send(new HeadObjectCommand({ Bucket, Key: "wrong" })), NotFound);
    });
  }
  await t.test("the default stores CRC32", async () => {
    await put(supported, Bucket, Key, CHECKED);
    await stored(supported, { CRC32: CHECK_VALUES.CRC32 });
  });
  await t.test("when required the service computes its own", async () => {
    await put(required, Bucket, Key, CHECKED);
    await stored(required, { CRC64NVME: CHECK_VALUES.CRC64NVME });
  });
});

test("checksums of parts", async (t) => {
  const client = newClientOnce();
  const Bucket = await newBucket(t, client);
  const Key = "key";
  const kinds = {
    CRC32: ["COMPOSITE", "FULL_OBJECT"],
    CRC32C: ["COMPOSITE", "FULL_OBJECT"],
    CRC64NVME: ["FULL_OBJECT"],
    SHA1: ["COMPOSITE"],
    SHA256: ["COMPOSITE"],
  };
  const bodies = [someBytes(5 * MIB), someBytes(100)];
  const whole = Buffer.concat(bodies);
  for (const [ChecksumAlgorithm, ofAlgorithm] of Object.entries(kinds)) {
    for (const ChecksumType of ofAlgorithm) {
      await t.test(`${ChecksumAlgorithm} ${ChecksumType}`, async () => {
        const begun = await client.send(new CreateMultipartUploadCommand({ Bucket, Key, ChecksumAlgorithm, ChecksumType }));
        const upload = { Bucket, Key, UploadId: begun.UploadId };
        const Parts = [];
        for (const [index, Body] of bodies.entries()) {
          const part = { PartNumber: index + 1, Body, ChecksumAlgorithm };
          const done = await client.send(new UploadPartCommand({ ...upload, ...part }));
          const name = `Checksum${ChecksumAlgorithm}`;
          Parts.push({ PartNumber: part.PartNumber, ETag: done.ETag, [name]: done[name] });
        }
        const listed = [];
        for await (const page of paginateListParts({ client, pageSize: 1 }, upload)) {
          listed.push(...page.Parts.map(({ PartNumber, Size }) => [PartNumber, Size]));
        }
        assert.deepEqual(listed, bodies.map((body, index) => [index + 1, body.length]));
        await client.send(new CompleteMultipartUploadCommand({ ...upload, ChecksumType, MultipartUpload: { Parts } }));
        const head = await client.send(new HeadObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
        assert.equal(head.ChecksumType, ChecksumType);
        const value = checksums(head)[ChecksumAlgorithm];
        assert.equal(value.endsWith("-2"), ChecksumType === "COMPOSITE");
        if (ChecksumType === "FULL_OBJECT") {
          // The same bytes in one piece have the same checksum.
          const one = await put(client, Bucket, "in one piece", whole, { ChecksumAlgorithm });
          assert.equal(checksums(one)[ChecksumAlgorithm], value);
        }
        same(whole, await get(client, { Bucket, Key }));
      });
    }
  }
});

test("uploads of lib-storage", async (t) => {
  const client = newClient();
  const bucket = await newBucket(t, client);
  const body = someBytes(MEDIUM_BYTES);
  const comesBack = async (Key) => {
    same(body, await get(client, { Bucket: bucket, Key }));
    const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key, PartNumber: 1 }));
    assert.equal(head.PartsCount, Math.ceil(body.length / (5 * MIB)));
    assert.equal((await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads, undefined);
  };
  await t.test("a buffer goes up in parts", async () => {
    await new Upload({ client, params: { Bucket: bucket, Key: "buffer", Body: body } }).done();
    await comesBack("buffer");
  });
  await t.test("a stream of unknown length goes up in parts", async () => {
    let sent = 0;
    const stream = Readable.from((function* () {
      for (let start = 0; start < body.length; start += 100_000) {
        yield body.subarray(start, start + 100_000);
      }
    })());
    // page: upload
    const upload = new Upload({ client, params: { Bucket: bucket, Key: "stream", Body: stream } });
    upload.on("httpUploadProgress", ({ loaded }) => {
      sent = loaded;
    });
    await upload.done();
    // page end
    assert.equal(sent, body.length);
    await comesBack("stream");
  });
  await t.test("a small one goes up at once", async () => {
    await new Upload({ client, params: { Bucket: bucket, Key: "small", Body: "small" } }).done();
    assert.equal((await get(client, { Bucket: bucket, Key: "small" })).toString(), "small");
  });
  await t.test("when checksums are only sent where they are required", async () => {
    const required = newClient({ requestChecksumCalculation: "WHEN_REQUIRED", responseChecksumValidation: "WHEN_REQUIRED" });
    await new Upload({ client: required, params: { Bucket: bucket, Key: "required", Body: body } }).done();
    await comesBack("required");
  });
  await t.test("one that is aborted leaves nothing", async () => {
    const upload = new Upload({ client, params: { Bucket: bucket, Key: "aborted", Body: body }, queueSize: 1 });
    upload.on("httpUploadProgress", () => upload.abort());
    await assert.rejects(upload.done());
    await fails(404, "NotFound", client.send(new HeadObjectCommand({ Bucket: bucket, Key: "aborted" })), NotFound);
  });
});

// The tree is the caller's, and so is the comparison of what comes back.
test("a tree goes up and comes back", async (t) => {
  const client = newClient();
  const Bucket = await newBucket(t, client);
  const [from, to] = [process.env.CAIRN_TEST_TREE, process.env.CAIRN_TEST_BACK];
  const found = await files.readdir(from, { recursive: true, withFileTypes: true });
  const paths = found.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath ?? entry.path, entry.name));
  const names = paths.map((name) => path.relative(from, name));
  await sixteenAtOnce(names, async (Key) => {
    await new Upload({ client, params: { Bucket, Key, Body: createReadStream(path.join(from, Key)) } }).done();
  });
  const listed = [];
  for await (const page of paginateListObjectsV2({ client }, { Bucket })) {
    listed.push(...page.Contents.map(({ Key }) => Key));
  }
  const inBytes = (one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other));
  assert.deepEqual(listed, names.sort(inBytes));
  await sixteenAtOnce(listed, async (Key) => {
    const target = path.join(to, Key);
    await files.mkdir(path.dirname(target), { recursive: true });
    const object = await client.send(new GetObjectCommand({ Bucket, Key }));
    await pipeline(object.Body, createWriteStream(target));
  });
});

async function sixteenAtOnce(items, work) {
  const left = items.values();
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (const item of left) {
        await work(item);
      }
    }),
  );
}
