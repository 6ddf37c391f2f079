"""What docs/tools/boto3.md shows, and that it does what it says."""

import filecmp
import os
import tempfile
import urllib.request

import boto3
from service import MIB, TestCase, some_bytes


class Page(TestCase):
    def test_what_the_page_shows(self):
        bucket = self.bucket
        # page: client
        s3 = boto3.client("s3")
        # page end

        # page: put and get
        s3.put_object(Bucket=bucket, Key="notes/first", Body=b"some text", ContentType="text/plain", Metadata={"of": "test"})
        found = s3.get_object(Bucket=bucket, Key="notes/first")
        text = found["Body"].read()
        # page end
        self.assertEqual((b"some text", "text/plain", {"of": "test"}), (text, found["ContentType"], found["Metadata"]))

        # page: list
        keys = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="notes/"):
            keys += [entry["Key"] for entry in page.get("Contents", [])]
        # page end
        self.assertEqual(["notes/first"], keys)

        with tempfile.TemporaryDirectory() as directory:
            film, back = os.path.join(directory, "film.mp4"), os.path.join(directory, "back.mp4")
            with open(film, "wb") as file:
                file.write(some_bytes(9 * MIB))
            # page: transfer
            s3.upload_file(film, bucket, "film.mp4")
            s3.download_file(bucket, "film.mp4", back)
            # page end
            self.assertTrue(filecmp.cmp(film, back, shallow=False))
            self.assertTrue(self.head("film.mp4")["ETag"].endswith('-2"'))

        # page: presign
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "notes/first"}, ExpiresIn=3600)
        # page end
        if url.startswith("http:"):
            with urllib.request.urlopen(url) as answer:
                self.assertEqual(b"some text", answer.read())

        # page: condition
        try:
            s3.put_object(Bucket=bucket, Key="notes/first", Body=b"other text", IfNoneMatch="*")
            was_there = False
        except s3.exceptions.ClientError as error:
            was_there = error.response["Error"]["Code"] == "PreconditionFailed"
        # page end
        self.assertTrue(was_there)
        self.assertEqual(b"some text", self.get("notes/first"))

        # page: versions
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        # page end
        self.assertEqual("Enabled", s3.get_bucket_versioning(Bucket=bucket)["Status"])
