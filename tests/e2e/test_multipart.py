"""Multipart uploads: by hand, as the transfer manager does them, by copying, and the ways in which they go wrong."""

import hashlib
import io
import os
import tempfile
import unittest

from boto3.s3.transfer import TransferConfig
from service import LONG, MIB, TestCase, some_bytes

PART = 5 * MIB


class Multipart(TestCase):
    def begin(self, key="object", **more):
        return self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, **more)["UploadId"]

    def part(self, upload, number, body, key="object", **more):
        answer = self.s3.upload_part(Bucket=self.bucket, Key=key, UploadId=upload, PartNumber=number, Body=body, **more)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def complete(self, upload, parts, key="object", **more):
        return self.s3.complete_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **more)

    def test_parts_become_one_object(self):
        upload = self.begin(ContentType="text/parts", Metadata={"of": "upload"})
        bodies = {2: some_bytes(PART, 2), 1: some_bytes(PART + 3, 1), 7: some_bytes(10, 7)}
        parts = {number: self.part(upload, number, body) for number, body in bodies.items()}
        self.assert_error(404, "NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key="object")
        self.assertEqual([], self.keys())
        listed = self.s3.list_parts(Bucket=self.bucket, Key="object", UploadId=upload)["Parts"]
        self.assertEqual([(1, PART + 3), (2, PART), (7, 10)], [(part["PartNumber"], part["Size"]) for part in listed])

        done = self.complete(upload, [parts[1], parts[2], parts[7]])
        digests = b"".join(hashlib.md5(bodies[number]).digest() for number in (1, 2, 7))
        self.assertEqual(f'"{hashlib.md5(digests).hexdigest()}-3"', done["ETag"])
        whole = bodies[1] + bodies[2] + bodies[7]
        answer = self.s3.get_object(Bucket=self.bucket, Key="object")
        self.assertEqual(whole, answer["Body"].read())
        self.assertEqual(("text/parts", {"of": "upload"}, done["ETag"]), (answer["ContentType"], answer["Metadata"], answer["ETag"]))
        # A range across the border of two parts, and a part by its number.
        self.assertEqual(whole[PART : PART + 9], self.get("object", Range=f"bytes={PART}-{PART + 8}"))
        second = self.s3.get_object(Bucket=self.bucket, Key="object", PartNumber=2)
        self.assertEqual((3, bodies[2]), (second["PartsCount"], second["Body"].read()))
        self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket=self.bucket))
        self.assert_error(404, "NoSuchUpload", self.s3.list_parts, Bucket=self.bucket, Key="object", UploadId=upload)

    def test_completing_twice_is_the_same_as_once(self):
        upload = self.begin()
        parts = [self.part(upload, 1, b"only")]
        first = self.complete(upload, parts)
        self.assertEqual(first["ETag"], self.complete(upload, parts)["ETag"])

    def test_a_part_may_be_sent_again_and_may_be_left_out(self):
        upload = self.begin()
        self.part(upload, 1, some_bytes(PART, 1))
        again = self.part(upload, 1, some_bytes(PART, 2))
        self.part(upload, 2, b"left out")
        last = self.part(upload, 3, b"last")
        self.complete(upload, [again, last])
        self.assertEqual(some_bytes(PART, 2) + b"last", self.get("object"))

    def test_an_aborted_upload_is_gone(self):
        upload = self.begin()
        part = self.part(upload, 1, b"x")
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="object", UploadId=upload)
        self.assert_error(404, "NoSuchUpload", self.complete, upload, [part])
        self.assert_error(404, "NoSuchUpload", self.part, upload, 2, b"x")
        self.assertEqual([], self.keys())

    def test_what_cannot_be_completed(self):
        upload = self.begin()
        one, two, large = self.part(upload, 1, b"too small"), self.part(upload, 2, b"last"), self.part(upload, 3, some_bytes(PART))
        self.assert_error(400, "EntityTooSmall", self.complete, upload, [one, two])
        self.assert_error(400, "InvalidPartOrder", self.complete, upload, [large, one])
        self.assert_error(400, "InvalidPart", self.complete, upload, [{"PartNumber": 1, "ETag": two["ETag"]}])
        self.assert_error(400, "InvalidPart", self.complete, upload, [{"PartNumber": 4, "ETag": two["ETag"]}])
        self.assert_error(404, "NoSuchUpload", self.complete, upload, [one], key="another")
        # None of this has harmed the upload.
        self.complete(upload, [one])
        self.assertEqual(b"too small", self.get("object"))

    def test_part_numbers_run_from_1_to_10000(self):
        upload = self.begin()
        for number in (0, 10001):
            self.assert_error(400, "InvalidArgument", self.part, upload, number, b"x")
        self.complete(upload, [self.part(upload, 10000, b"x")])

    def test_completing_under_a_condition(self):
        self.put("object", b"first")
        upload = self.begin()
        parts = [self.part(upload, 1, b"second")]
        self.assert_error(412, "PreconditionFailed", self.complete, upload, parts, IfNoneMatch="*")
        self.assertEqual(b"first", self.get("object"))
        self.complete(upload, parts, IfMatch=self.head("object")["ETag"])
        self.assertEqual(b"second", self.get("object"))

    def test_uploads_are_listed(self):
        begun = [(key, self.begin(key)) for key in ("a", "b/1", "b/1", "b/2", "c d+é")]
        for page_size in (1, 2, 1000):
            pages = self.s3.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, PaginationConfig={"PageSize": page_size})
            listed = [(entry["Key"], entry["UploadId"]) for page in pages for entry in page["Uploads"]]
            self.assertEqual([key for key, _ in begun], [key for key, _ in listed])
            self.assertEqual(set(begun), set(listed))
        folded = self.s3.list_multipart_uploads(Bucket=self.bucket, Delimiter="/")
        self.assertEqual(["a", "c d+é"], [entry["Key"] for entry in folded["Uploads"]])
        self.assertEqual(["b/"], [entry["Prefix"] for entry in folded["CommonPrefixes"]])

    def test_parts_are_listed_page_by_page(self):
        upload = self.begin()
        for number in range(1, 8):
            self.part(upload, number, str(number).encode())
        pages = self.s3.get_paginator("list_parts").paginate(
            Bucket=self.bucket, Key="object", UploadId=upload, PaginationConfig={"PageSize": 3}
        )
        self.assertEqual(list(range(1, 8)), [part["PartNumber"] for page in pages for part in page["Parts"]])

    def test_parts_copied_from_an_object(self):
        source = some_bytes(2 * PART + 100)
        self.put("source a+b", source)
        upload = self.begin()
        parts = []
        for number, (start, end) in enumerate([(0, PART), (PART - 50, 2 * PART), (2 * PART, len(source))], 1):
            answer = self.s3.upload_part_copy(
                Bucket=self.bucket, Key="object", UploadId=upload, PartNumber=number,
                CopySource={"Bucket": self.bucket, "Key": "source a+b"}, CopySourceRange=f"bytes={start}-{end - 1}",
            )
            parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
        self.complete(upload, parts)
        self.s3.delete_object(Bucket=self.bucket, Key="source a+b")
        self.assertEqual(source[:PART] + source[PART - 50 :], self.get("object"))


class TransferManager(TestCase):
    """What `upload_file` and `download_file` make of a file, with their stock defaults."""

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = lambda name: os.path.join(directory.name, name)

    def test_files_go_up_and_come_back(self):
        sizes = [0, 1, 8 * MIB - 1, 8 * MIB, 24 * MIB + 12345] + ([600 * MIB + 1] if LONG else [])
        for size in sizes:
            with self.subTest(size=size):
                body = some_bytes(size)
                with open(self.path("up"), "wb") as file:
                    file.write(body)
                self.s3.upload_file(self.path("up"), self.bucket, "file", ExtraArgs={"Metadata": {"size": str(size)}})
                head = self.head("file")
                self.assertEqual((size, str(size)), (head["ContentLength"], head["Metadata"]["size"]))
                self.s3.download_file(self.bucket, "file", self.path("down"))
                with open(self.path("down"), "rb") as file:
                    self.assertTrue(body == file.read(), "the bytes are not the same")

    @unittest.skipUnless(LONG, "only at full size")
    def test_a_file_whose_length_no_32_bit_number_counts(self):
        length, piece = 6 * 1024 * MIB, 16 * MIB
        sent, received = hashlib.sha256(), hashlib.sha256()
        with open(self.path("up"), "wb") as file:
            for number in range(length // piece):
                body = some_bytes(piece, number)
                sent.update(body)
                file.write(body)
        self.s3.upload_file(self.path("up"), self.bucket, "file")
        # Three copies stand in the service; the disk need not hold two more.
        os.remove(self.path("up"))
        self.assertEqual(length, self.head("file")["ContentLength"])
        self.s3.download_file(self.bucket, "file", self.path("down"))
        self.assertEqual(length, os.path.getsize(self.path("down")))
        with open(self.path("down"), "rb") as file:
            while body := file.read(piece):
                received.update(body)
        self.assertEqual(sent.hexdigest(), received.hexdigest())

    def test_streams_of_unknown_length(self):
        body = some_bytes(17 * MIB + 1)
        self.s3.upload_fileobj(io.BytesIO(body), self.bucket, "stream")
        back = io.BytesIO()
        self.s3.download_fileobj(self.bucket, "stream", back)
        self.assertTrue(body == back.getvalue(), "the bytes are not the same")

    def test_a_copy_in_parts(self):
        body = some_bytes(17 * MIB + 1)
        self.put("source", body, Metadata={"of": "source"})
        config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
        self.s3.copy({"Bucket": self.bucket, "Key": "source"}, self.bucket, "copy", Config=config)
        self.assertTrue(body == self.get("copy"), "the bytes are not the same")
