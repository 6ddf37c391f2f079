// Objects: stored, read, described, copied, deleted, listed, under conditions, by signed URLs, in versions; and the SDK's types of errors.

import assert from "node:assert/strict";
import test from "node:test";
import {
  CopyObjectCommand,
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  ListObjectsV2Command,
  NoSuchBucket,
  NoSuchKey,
  NotFound,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  paginateListBuckets,
  paginateListObjectsV2,
  waitUntilObjectExists,
  waitUntilObjectNotExists,
} from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { fails, get, newBucket, newClient, newClientOnce, pagesOfVersions, put } from "./service.mjs";

const KEYS = ["plain", "a b+c%25/é 高山/🏔", "//double//", "back\\slash", "q?a=b&c#d", "dots/../up", "'quote\"<x>"];

test("objects", async (t) => {
  const client = newClient();
  const bucket = await newBucket(t, client);
  for (const key of KEYS) {
    await t.test(key, async () => {
      const text = `bytes of ${key}`;
      // page: put and get
      const s3 = new S3Client();
      await s3.send(
        new PutObjectCommand({ Bucket: bucket, Key: key, Body: text, ContentType: "text/plain", Metadata: { of: "test" } }),
      );
      const found = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
      const back = await found.Body.transformToString();
      // page end
      s3.destroy();
      assert.equal(back, text);
      assert.equal(found.ContentType, "text/plain");
      assert.deepEqual(found.Metadata, { of: "test" });
      assert.equal((await get(client, { Bucket: bucket, Key: key, Range: "bytes=6-7" })).toString(), "of");
      const head = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: key }));
      assert.equal(head.ContentLength, Buffer.byteLength(text));
      assert.equal(head.ETag, found.ETag);

      const CopySource = `${bucket}/${encodeURIComponent(key)}`;
      await client.send(new CopyObjectCommand({ Bucket: bucket, Key: `copy of ${key}`, CopySource }));
      const copied = await client.send(new HeadObjectCommand({ Bucket: bucket, Key: `copy of ${key}` }));
      assert.deepEqual([copied.ETag, copied.Metadata], [head.ETag, { of: "test" }]);

      await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
      await fails(404, "NoSuchKey", get(client, { Bucket: bucket, Key: key }), NoSuchKey);
    });
  }
});

test("errors have their types", async (t) => {
  const client = newClientOnce();
  const Bucket = await newBucket(t, client);
  const nothing = { Bucket, Key: "nothing" };
  await fails(404, "NoSuchKey", client.send(new GetObjectCommand(nothing)), NoSuchKey);
  await fails(404, "NotFound", client.send(new HeadObjectCommand(nothing)), NotFound);
  await fails(404, "NotFound", client.send(new HeadBucketCommand({ Bucket: "no-such-bucket" })), NotFound);
  await fails(404, "NoSuchBucket", client.send(new ListObjectsV2Command({ Bucket: "no-such-bucket" })), NoSuchBucket);
  await fails(400, "InvalidBucketName", client.send(new CreateBucketCommand({ Bucket: "Not_A_Bucket" })));
  const part = { ...nothing, UploadId: "none", PartNumber: 1, Body: "x" };
  await fails(404, "NoSuchUpload", client.send(new UploadPartCommand(part)));
  await put(client, Bucket, "something", "x");
  await fails(416, "InvalidRange", client.send(new GetObjectCommand({ Bucket, Key: "something", Range: "bytes=5-" })));
  await fails(409, "BucketNotEmpty", client.send(new DeleteBucketCommand({ Bucket })));
  const { accessKeyId, secretAccessKey } = await client.config.credentials();
  const forger = newClientOnce({ credentials: { accessKeyId, secretAccessKey: `${secretAccessKey}x` } });
  await fails(403, "SignatureDoesNotMatch", forger.send(new GetObjectCommand({ Bucket, Key: "something" })));
});

test("writes under conditions", async (t) => {
  const client = newClientOnce();
  const Bucket = await newBucket(t, client);
  const Key = "state";
  const first = await put(client, Bucket, Key, "first", { IfNoneMatch: "*" });
  await fails(412, "PreconditionFailed", put(client, Bucket, Key, "other", { IfNoneMatch: "*" }));
  const second = await put(client, Bucket, Key, "second", { IfMatch: first.ETag });
  await fails(412, "PreconditionFailed", put(client, Bucket, Key, "third", { IfMatch: first.ETag }));
  assert.equal((await get(client, { Bucket, Key })).toString(), "second");
  // Without a body the SDK has no more than the status to name the error by.
  await assert.rejects(get(client, { Bucket, Key, IfNoneMatch: second.ETag }), (error) => error.$metadata.httpStatusCode === 304);
  await fails(412, "PreconditionFailed", get(client, { Bucket, Key, IfMatch: first.ETag }));
});

test("paginators give everything once", async (t) => {
  const client = newClient();
  const Bucket = await newBucket(t, client);
  const expected = Array.from({ length: 25 }, (_, number) => `folder ${number % 4}/key+${String(number).padStart(2, "0")}`);
  await Promise.all(expected.map((key) => put(client, Bucket, key, key)));
  expected.sort();

  const found = [];
  // page: list
  for await (const page of paginateListObjectsV2({ client, pageSize: 10 }, { Bucket })) {
    for (const object of page.Contents ?? []) {
      found.push(object.Key);
    }
  }
  // page end
  assert.deepEqual(found, expected);

  const folders = [];
  for await (const page of paginateListObjectsV2({ client, pageSize: 3 }, { Bucket, Delimiter: "/" })) {
    assert.equal(page.Contents, undefined);
    folders.push(...page.CommonPrefixes.map(({ Prefix }) => Prefix));
  }
  assert.deepEqual(folders, ["folder 0/", "folder 1/", "folder 2/", "folder 3/"]);

  let versions = 0;
  for await (const page of pagesOfVersions(client, { Bucket, MaxKeys: 7 })) {
    assert.ok(page.Versions.length <= 7);
    versions += page.Versions.length;
  }
  assert.equal(versions, expected.length);

  const buckets = [];
  for await (const page of paginateListBuckets({ client }, { Prefix: Bucket })) {
    buckets.push(...page.Buckets.map(({ Name }) => Name));
  }
  assert.equal(buckets.filter((name) => name === Bucket).length, 1);
});

test("waiters see what is there and what is gone", async (t) => {
  const client = newClient();
  const Bucket = await newBucket(t, client);
  await put(client, Bucket, "key", "x");
  const settings = { client, maxWaitTime: 60 };
  assert.equal((await waitUntilObjectExists(settings, { Bucket, Key: "key" })).state, "SUCCESS");
  await client.send(new DeleteObjectCommand({ Bucket, Key: "key" }));
  assert.equal((await waitUntilObjectNotExists(settings, { Bucket, Key: "key" })).state, "SUCCESS");
});

test("signed URLs", async (t) => {
  const client = newClient();
  const Bucket = await newBucket(t, client);
  const Key = "a b+c/é";
  // page: presign
  const upload = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key }), { expiresIn: 3600 });
  const download = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key }), { expiresIn: 3600 });
  // page end
  assert.equal((await fetch(upload, { method: "PUT", body: "by URL" })).status, 200);
  const answer = await fetch(download);
  assert.deepEqual([answer.status, await answer.text()], [200, "by URL"]);
  assert.equal((await fetch(download.replace("/a%20b", "/other"))).status, 403);
  assert.equal((await fetch(download, { method: "DELETE" })).status, 403);
});

test("buckets are found by their host", async (t) => {
  const client = newClient();
  const Bucket = await newBucket(t, client);
  const endpoint = new URL(process.env.AWS_ENDPOINT_URL_S3);
  // No resolver need know the name: every connection goes to the service.
  const hosts = [];
  const lookup = (host, options, answer) => {
    hosts.push(host);
    answer(null, options.all ? [{ address: "127.0.0.1", family: 4 }] : "127.0.0.1", 4);
  };
  const byHost = newClient({
    endpoint: `${endpoint.protocol}//s3.localhost:${endpoint.port}`,
    requestHandler: { httpAgent: { lookup }, httpsAgent: { lookup } },
  });
  await put(byHost, Bucket, "a b/c", "by host");
  assert.equal(hosts[0], `${Bucket}.s3.localhost`);
  assert.equal((await get(client, { Bucket, Key: "a b/c" })).toString(), "by host");
});

test("versions", async (t) => {
  const client = newClientOnce();
  const Bucket = await newBucket(t, client);
  const Key = "note";
  const read = async (VersionId) => (await get(client, { Bucket, Key, VersionId })).toString();
  assert.equal((await client.send(new GetBucketVersioningCommand({ Bucket }))).Status, undefined);
  // page: versions
  await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Enabled" } }));
  // page end
  assert.equal((await client.send(new GetBucketVersioningCommand({ Bucket }))).Status, "Enabled");
  const first = (await put(client, Bucket, Key, "first")).VersionId;
  const second = (await put(client, Bucket, Key, "second")).VersionId;
  const deleted = await client.send(new DeleteObjectCommand({ Bucket, Key }));
  assert.equal(deleted.DeleteMarker, true);
  await fails(404, "NoSuchKey", read(), NoSuchKey);
  await fails(405, "MethodNotAllowed", read(deleted.VersionId));
  assert.deepEqual([await read(first), await read(second)], ["first", "second"]);
  const listed = await client.send(new ListObjectVersionsCommand({ Bucket }));
  assert.deepEqual(listed.Versions.map(({ VersionId }) => VersionId), [second, first]);
  assert.deepEqual(listed.DeleteMarkers.map(({ VersionId, IsLatest }) => [VersionId, IsLatest]), [[deleted.VersionId, true]]);

  await client.send(new DeleteObjectCommand({ Bucket, Key, VersionId: deleted.VersionId }));
  assert.equal(await read(), "second");
  await client.send(new DeleteObjectCommand({ Bucket, Key, VersionId: second }));
  assert.equal(await read(), "first");
  await fails(404, "NoSuchVersion", read(second));

  await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Suspended" } }));
  // Of the two that are stored while it is suspended, the second replaces the first.
  await put(client, Bucket, Key, "third");
  await put(client, Bucket, Key, "fourth");
  const after = await client.send(new ListObjectVersionsCommand({ Bucket }));
  assert.deepEqual(after.Versions.map(({ VersionId }) => VersionId), ["null", first]);
  assert.equal(await read("null"), "fourth");
});
