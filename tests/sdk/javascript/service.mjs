// What every test here shares. The SDK reads its own variables (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION),
// and Node the certificate authority (NODE_EXTRA_CA_CERTS): clients are made as programs make them, with the SDK's defaults.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";

export const MIB = 1024 * 1024;
export const MEDIUM_BYTES = Number(process.env.CAIRN_TEST_MEDIUM_BYTES);

let bucketNumber = 0;
const clients = [];

/** A client of the defaults, with what a test changes of them. */
export function newClient(settings = {}) {
  const client = new S3Client(settings);
  clients.push(client);
  return client;
}

/** A client that does not try again: a test that expects an error must not wait. */
export function newClientOnce(settings = {}) {
  return newClient({ maxAttempts: 1, ...settings });
}

/** The pages of ListObjectVersions, for which the SDK has no paginator. */
export async function* pagesOfVersions(client, input) {
  let page = { NextKeyMarker: undefined, NextVersionIdMarker: undefined, IsTruncated: true };
  while (page.IsTruncated) {
    const from = { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker };
    page = await client.send(new ListObjectVersionsCommand({ ...input, ...from }));
    yield page;
  }
}

/** An empty bucket that is gone after the test. */
export async function newBucket(test, client) {
  const Bucket = `javascript-${process.pid}-${(bucketNumber += 1)}`;
  await client.send(new CreateBucketCommand({ Bucket }));
  test.after(async () => {
    for await (const page of pagesOfVersions(client, { Bucket })) {
      const Objects = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])].map(({ Key, VersionId }) => ({ Key, VersionId }));
      if (Objects.length > 0) {
        const done = await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
        assert.deepEqual(done.Errors ?? [], []);
        assert.equal(done.Deleted.length, Objects.length);
      }
    }
    await client.send(new DeleteBucketCommand({ Bucket }));
  });
  return Bucket;
}

export async function put(client, Bucket, Key, Body, more = {}) {
  return client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
}

/** The bytes of an object. */
export async function get(client, input) {
  const found = await client.send(new GetObjectCommand(input));
  return Buffer.from(await found.Body.transformToByteArray());
}

/** Bytes that do not compress or repeat, the same in every run. */
export function someBytes(length) {
  const body = Buffer.alloc(length);
  let state = (length * 2654435761 + 1) >>> 0;
  for (let index = 0; index < length; index += 1) {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    body[index] = state & 0xff;
  }
  return body;
}

export function digest(body) {
  return createHash("sha256").update(body).digest("hex");
}

/** The same bytes; the difference itself would fill the screen. */
export function same(expected, actual) {
  assert.equal(actual.length, expected.length);
  assert.equal(digest(actual), digest(expected));
}

/** Holds a call to failing with this status and this S3 error code, as an error of this type where one is named. */
export async function fails(status, name, call, type) {
  await assert.rejects(call, (error) => {
    assert.equal(error.$metadata?.httpStatusCode, status, String(error));
    assert.equal(error.name, name);
    if (type !== undefined) {
      assert.ok(error instanceof type, `it is a ${error.constructor.name}`);
    }
    return true;
  });
}
