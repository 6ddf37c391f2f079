"""Objects: stored and read back whole and in part, under conditions, with their headers, and removed."""

import concurrent.futures
import datetime
import hashlib

from service import MIB, TestCase, client, some_bytes

# Keys that trip parsers of paths, of URLs and of XML. All of them may be in one bucket together.
ODD_KEYS = [
    "a", "a/", "a/b", "a//b", "/a", "//", "///", ".", "..", "../a", "a/../b", "a/./b", "%", "%2F", "a%20b", "100%", "+", "a+b", "a b",
    " a", "a ", "?", "a?b=c", "#", "a#b", "&", "&amp;", "<a>", "]]>", "'", '"', "\\", "a\\b", "~", "*", "|", "^", "`", "$", "@", "=", ";",
    ":", ",", "!", "(", ")", "[", "]", "{", "}", "\t", "a\nb", "a\rb", "\x01", "\x7f", "é", "e\u0301", "ß", "日本語", "العربية", "🏔️", "\u2028",
    "\ufffd", "\U0010ffff", "k" * 1024, "é" * 512, "🏔" * 256,
]


class Objects(TestCase):
    def test_sizes_around_the_limits_of_frames_and_chunks(self):
        frame, chunk = 64 * 1024, 8 * MIB
        sizes = [0, 1, 4096, 16 * 1024, 16 * 1024 + 1, frame - 1, frame, frame + 1, chunk - 1, chunk, chunk + 1, 2 * chunk + frame + 7]
        for size in sizes:
            with self.subTest(size=size):
                body = some_bytes(size)
                stored = self.put("object", body)
                self.assertEqual(f'"{hashlib.md5(body).hexdigest()}"', stored["ETag"])
                answer = self.s3.get_object(Bucket=self.bucket, Key="object")
                self.assertEqual((size, stored["ETag"]), (answer["ContentLength"], answer["ETag"]))
                self.assertEqual(body, answer["Body"].read())

    def test_an_overwrite_replaces_the_whole_object(self):
        self.put("a", b"first and longer", Metadata={"of": "first"}, ContentType="text/first")
        self.put("a", b"second")
        self.assertEqual(b"second", self.get("a"))
        self.assertEqual(({}, "binary/octet-stream"), (self.head("a")["Metadata"], self.head("a")["ContentType"]))

    def test_headers_and_metadata_come_back(self):
        headers = {
            "ContentType": "text/plain; charset=utf-8",
            "CacheControl": "max-age=60",
            "ContentDisposition": 'attachment; filename="a b.txt"',
            "ContentLanguage": "de-CH",
            "Metadata": {"plain": "value", "odd": "a=b; c, d"},
        }
        self.put("a", b"body", ContentEncoding="gzip", **headers)
        for answer in (self.head("a"), self.s3.get_object(Bucket=self.bucket, Key="a")):
            self.assertEqual(headers, {name: answer[name] for name in headers})
            # The coding of the transfer (aws-chunked) is none of the object's.
            self.assertEqual("gzip", answer["ContentEncoding"])
            age = datetime.datetime.now(datetime.timezone.utc) - answer["LastModified"]
            self.assertLess(abs(age), datetime.timedelta(minutes=5))
        self.put("b", b"body")
        self.assertNotIn("ContentEncoding", self.head("b"))

    def test_a_reader_may_ask_for_other_headers(self):
        self.put("a", b"body")
        answer = self.s3.get_object(
            Bucket=self.bucket, Key="a", ResponseContentType="text/x", ResponseContentDisposition="inline", ResponseCacheControl="no-store"
        )
        self.assertEqual(("text/x", "inline", "no-store"), (answer["ContentType"], answer["ContentDisposition"], answer["CacheControl"]))

    def test_ranges(self):
        body = some_bytes(9 * MIB + 5)
        self.put("a", body)
        last = len(body) - 1
        for asked, start, end in [
            ("bytes=0-0", 0, 0),
            ("bytes=0-4", 0, 4),
            (f"bytes={8 * MIB - 3}-{8 * MIB + 3}", 8 * MIB - 3, 8 * MIB + 3),
            (f"bytes={64 * 1024 - 1}-{64 * 1024}", 64 * 1024 - 1, 64 * 1024),
            (f"bytes={last}-", last, last),
            ("bytes=-7", last - 6, last),
            (f"bytes=5-{10 * last}", 5, last),
            (f"bytes=-{10 * last}", 0, last),
        ]:
            with self.subTest(range=asked):
                answer = self.s3.get_object(Bucket=self.bucket, Key="a", Range=asked)
                self.assertEqual(206, answer["ResponseMetadata"]["HTTPStatusCode"])
                self.assertEqual(f"bytes {start}-{end}/{len(body)}", answer["ContentRange"])
                self.assertEqual(body[start : end + 1], answer["Body"].read())
        for asked in [f"bytes={last + 1}-", "bytes=-0"]:
            with self.subTest(range=asked):
                self.assert_error(416, "InvalidRange", self.s3.get_object, Bucket=self.bucket, Key="a", Range=asked)
        # A range that is none is ignored.
        for asked in ["bytes=x", "lines=0-1"]:
            with self.subTest(range=asked):
                answer = self.s3.get_object(Bucket=self.bucket, Key="a", Range=asked)
                self.assertEqual((200, len(body)), (answer["ResponseMetadata"]["HTTPStatusCode"], answer["ContentLength"]))

    def test_conditions_of_readers(self):
        etag = self.put("a", b"body")["ETag"]
        past, future = datetime.datetime(2020, 1, 1), datetime.datetime(2100, 1, 1)
        for condition in [{"IfMatch": etag}, {"IfMatch": "*"}, {"IfNoneMatch": '"other"'}, {"IfModifiedSince": past}, {"IfUnmodifiedSince": future}]:
            with self.subTest(condition=condition):
                self.assertEqual(b"body", self.get("a", **condition))
                self.assertEqual(4, self.head("a", **condition)["ContentLength"])
        for condition in [{"IfNoneMatch": etag}, {"IfModifiedSince": self.head("a")["LastModified"]}]:
            with self.subTest(condition=condition):
                self.assert_error(304, "304", self.s3.get_object, Bucket=self.bucket, Key="a", **condition)
        for condition in [{"IfMatch": '"other"'}, {"IfUnmodifiedSince": past}]:
            with self.subTest(condition=condition):
                self.assert_error(412, "PreconditionFailed", self.s3.get_object, Bucket=self.bucket, Key="a", **condition)
                self.assert_error(412, "412", self.s3.head_object, Bucket=self.bucket, Key="a", **condition)
        # The ETag decides where both are given.
        self.assertEqual(b"body", self.get("a", IfMatch=etag, IfUnmodifiedSince=past))

    def test_conditions_of_writers(self):
        etag = self.put("a", b"first", IfNoneMatch="*")["ETag"]
        self.assert_error(412, "PreconditionFailed", self.put, "a", b"second", IfNoneMatch="*")
        self.assert_error(412, "PreconditionFailed", self.put, "a", b"second", IfMatch='"other"')
        self.assertEqual(b"first", self.get("a"))
        self.put("a", b"third", IfMatch=etag)
        self.assertEqual(b"third", self.get("a"))
        self.assert_error(404, "NoSuchKey", self.put, "missing", b"x", IfMatch=etag)
        self.s3.delete_object(Bucket=self.bucket, Key="a")
        self.put("a", b"again", IfNoneMatch="*")

    def test_of_racing_conditional_writers_one_wins(self):
        with concurrent.futures.ThreadPoolExecutor(32) as threads:
            clients = [client() for _ in range(32)]
            for turn in range(5):
                key = f"race-{turn}"

                def write(number, key=key):
                    try:
                        clients[number].put_object(Bucket=self.bucket, Key=key, Body=str(number).encode(), IfNoneMatch="*")
                    except clients[number].exceptions.ClientError as error:
                        # Two writers at one moment: either is told that it lost, or to try again.
                        self.assertIn(error.response["Error"]["Code"], ("PreconditionFailed", "ConditionalRequestConflict"))
                        return None
                    return number

                winners = [number for number in threads.map(write, range(32)) if number is not None]
                self.assertEqual(1, len(winners))
                self.assertEqual(str(winners[0]).encode(), self.get(key))

    def test_a_deleted_object_is_gone(self):
        self.put("a", b"body")
        self.s3.delete_object(Bucket=self.bucket, Key="a")
        self.assert_error(404, "NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key="a")
        self.assert_error(404, "404", self.s3.head_object, Bucket=self.bucket, Key="a")
        # What is not there can be deleted all the same.
        self.assertEqual(204, self.s3.delete_object(Bucket=self.bucket, Key="a")["ResponseMetadata"]["HTTPStatusCode"])

    def test_deleting_many_at_once(self):
        keys = [f"many/{number}" for number in range(30)] + ["many/a b+c%&<>", "many/🏔️"]
        for key in keys:
            self.put(key, b"x")
        self.put("kept", b"x")
        listed = [{"Key": key} for key in [*keys, "many/missing"]]
        answer = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": listed})
        self.assertEqual({*keys, "many/missing"}, {entry["Key"] for entry in answer["Deleted"]})
        self.assertEqual(["kept"], self.keys())
        quiet = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": "kept"}], "Quiet": True})
        self.assertNotIn("Deleted", quiet)
        self.assertEqual([], self.keys())


class OddKeys(TestCase):
    def test_every_key_is_a_key_of_its_own(self):
        for key in ODD_KEYS:
            with self.subTest(key=key, verb="put"):
                self.put(key, key.encode())
        for key in ODD_KEYS:
            with self.subTest(key=key, verb="get"):
                self.assertEqual(key.encode(), self.get(key))
        # S3 orders keys by their UTF-8 bytes.
        in_order = sorted(ODD_KEYS, key=str.encode)
        self.assertEqual(in_order, self.keys())
        self.assertEqual(in_order, self.keys(PaginationConfig={"PageSize": 3}))
        pages = self.s3.get_paginator("list_objects").paginate(Bucket=self.bucket, PaginationConfig={"PageSize": 7})
        self.assertEqual(in_order, [entry["Key"] for page in pages for entry in page["Contents"]])
        for key in ODD_KEYS:
            with self.subTest(key=key, verb="delete"):
                self.s3.delete_object(Bucket=self.bucket, Key=key)
        self.assertEqual([], self.keys())

    def test_a_key_of_1025_bytes_is_too_long(self):
        for key in ["k" * 1025, "é" * 512 + "k"]:
            self.assert_error(400, "KeyTooLongError", self.put, key, b"x")
