"""Copies: whole objects, within a bucket and across, with their metadata or with new ones, under conditions."""

import datetime

from service import MIB, TestCase, some_bytes


class Copies(TestCase):
    def copy(self, source, key, bucket=None, **more):
        source = {"Bucket": self.bucket, "Key": source}
        return self.s3.copy_object(Bucket=bucket or self.bucket, Key=key, CopySource=source, **more)

    def test_a_copy_lives_on_without_its_source(self):
        body = some_bytes(9 * MIB)
        other = self.new_bucket()
        for key, bucket in [("copy", self.bucket), ("dir/a b+c%2F🏔️", self.bucket), ("copy", other)]:
            with self.subTest(key=key, bucket=bucket):
                stored = self.put("sou rce+%é", body, ContentType="text/source", Metadata={"of": "source"})
                answer = self.copy("sou rce+%é", key, bucket)
                self.assertEqual(stored["ETag"], answer["CopyObjectResult"]["ETag"])
                self.s3.delete_object(Bucket=self.bucket, Key="sou rce+%é")
                copied = self.s3.get_object(Bucket=bucket, Key=key)
                self.assertEqual(("text/source", {"of": "source"}), (copied["ContentType"], copied["Metadata"]))
                self.assertTrue(body == copied["Body"].read(), "the bytes are not the same")

    def test_a_source_lives_on_without_its_copy(self):
        self.put("source", b"body")
        self.copy("source", "copy")
        self.s3.delete_object(Bucket=self.bucket, Key="copy")
        self.assertEqual(b"body", self.get("source"))

    def test_metadata_may_be_replaced(self):
        self.put("source", b"body", ContentType="text/source", Metadata={"of": "source"})
        self.copy("source", "copy", MetadataDirective="REPLACE", ContentType="text/copy", Metadata={"of": "copy"})
        self.assertEqual(("text/copy", {"of": "copy"}), (self.head("copy")["ContentType"], self.head("copy")["Metadata"]))
        # The way in which tools change the metadata of an object.
        self.copy("source", "source", MetadataDirective="REPLACE", Metadata={"now": "this"})
        self.assertEqual(({"now": "this"}, b"body"), (self.head("source")["Metadata"], self.get("source")))

    def test_a_copy_to_itself_that_changes_nothing(self):
        self.put("source", b"body")
        self.assert_error(400, "InvalidRequest", self.copy, "source", "source")

    def test_conditions_on_the_source(self):
        etag = self.put("source", b"body")["ETag"]
        past, future = datetime.datetime(2020, 1, 1), datetime.datetime(2100, 1, 1)
        self.copy("source", "copy", CopySourceIfMatch=etag)
        self.copy("source", "copy", CopySourceIfNoneMatch='"other"', CopySourceIfModifiedSince=past)
        self.copy("source", "copy", CopySourceIfUnmodifiedSince=future)
        for condition in [
            {"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag}, {"CopySourceIfUnmodifiedSince": past},
        ]:
            with self.subTest(condition=condition):
                self.assert_error(412, "PreconditionFailed", self.copy, "source", "not copied", **condition)
        self.assertEqual(["copy", "source"], self.keys())

    def test_what_is_not_there(self):
        self.assert_error(404, "NoSuchKey", self.copy, "missing", "copy")
        self.put("source", b"body")
        self.assert_error(404, "NoSuchBucket", self.copy, "source", "copy", bucket=f"{self.bucket}-missing")
