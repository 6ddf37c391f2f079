"""Tags: of objects with every way of writing them, of versions, of buckets; and what GetObjectAttributes tells."""

from service import MIB, TestCase, some_bytes


def tag_set(**tags):
    return {"TagSet": [{"Key": key, "Value": value} for key, value in tags.items()]}


class Tags(TestCase):
    def tags(self, key, **more):
        answer = self.s3.get_object_tagging(Bucket=self.bucket, Key=key, **more)
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def tag(self, key, tags, **more):
        return self.s3.put_object_tagging(Bucket=self.bucket, Key=key, Tagging=tag_set(**tags), **more)

    def test_tags_are_set_read_and_removed(self):
        self.put("a", b"body", Tagging="team=alps&cost%20centre=7%2B1")
        self.assertEqual({"team": "alps", "cost centre": "7+1"}, self.tags("a"))
        modified = self.head("a")["LastModified"]
        self.tag("a", {"né": "ü/@", "b": ""})
        self.assertEqual({"né": "ü/@", "b": ""}, self.tags("a"))
        self.assertEqual((2, modified), (self.s3.get_object(Bucket=self.bucket, Key="a")["TagCount"], self.head("a")["LastModified"]))
        self.s3.delete_object_tagging(Bucket=self.bucket, Key="a")
        self.assertEqual({}, self.tags("a"))
        self.assertNotIn("TagCount", self.s3.get_object(Bucket=self.bucket, Key="a"))
        self.assertEqual(b"body", self.get("a"))

    def test_what_cannot_be_tags(self):
        self.put("a", b"body", Tagging="kept=1")
        for code, tags in [
            ("BadRequest", {f"k{number}": "" for number in range(11)}),
            ("InvalidTag", {"k" * 129: ""}),
            ("InvalidTag", {"k": "v" * 257}),
            ("InvalidTag", {"k": "a*b"}),
            ("InvalidTag", {"aws:k": ""}),
        ]:
            with self.subTest(tags=tags):
                self.assert_error(400, code, self.tag, "a", tags)
        self.assert_error(400, "InvalidArgument", self.put, "a", b"new", Tagging="k=1&k=2")
        self.assertEqual(({"kept": "1"}, b"body"), (self.tags("a"), self.get("a")))
        self.assert_error(404, "NoSuchKey", self.tags, "missing")
        self.assert_error(404, "NoSuchKey", self.tag, "missing", {"a": "b"})

    def test_each_version_has_its_own(self):
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        versions = [self.put("a", body, Tagging=f"n={body.decode()}")["VersionId"] for body in (b"1", b"2")]
        self.assertEqual(versions[0], self.tag("a", {"n": "one"}, VersionId=versions[0])["VersionId"])
        self.assertEqual([{"n": "one"}, {"n": "2"}], [self.tags("a", VersionId=version) for version in versions])
        self.assertEqual({"n": "2"}, self.tags("a"))
        marker = self.s3.delete_object(Bucket=self.bucket, Key="a")["VersionId"]
        # A delete marker has no tags, whether it is named or is the current version (AWS).
        self.assert_error(405, "MethodNotAllowed", self.tags, "a")
        self.assert_error(405, "MethodNotAllowed", self.tags, "a", VersionId=marker)

    def test_they_go_with_copies_and_uploads(self):
        self.put("source", b"body", Tagging="a=1")
        source = {"Bucket": self.bucket, "Key": "source"}
        self.s3.copy_object(Bucket=self.bucket, Key="kept", CopySource=source)
        self.s3.copy_object(Bucket=self.bucket, Key="new", CopySource=source, TaggingDirective="REPLACE", Tagging="b=2")
        self.s3.copy_object(Bucket=self.bucket, Key="none", CopySource=source, TaggingDirective="REPLACE")
        self.assertEqual([{"a": "1"}, {"b": "2"}, {}], [self.tags(key) for key in ("kept", "new", "none")])
        upload = {"Bucket": self.bucket, "Key": "large"}
        upload["UploadId"] = self.s3.create_multipart_upload(**upload, Tagging="u=1")["UploadId"]
        etag = self.s3.upload_part(**upload, PartNumber=1, Body=b"part")["ETag"]
        self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        self.assertEqual({"u": "1"}, self.tags("large"))

    def test_tags_of_a_bucket(self):
        get = lambda: self.s3.get_bucket_tagging(Bucket=self.bucket)["TagSet"]
        self.assert_error(404, "NoSuchTagSet", get)
        tags = tag_set(**{f"k{number:02}": "v" for number in range(50)})
        self.s3.put_bucket_tagging(Bucket=self.bucket, Tagging=tags)
        self.assertEqual(tags["TagSet"], get())
        more = {"TagSet": tags["TagSet"] + tag_set(more="v")["TagSet"]}
        self.assert_error(400, "BadRequest", self.s3.put_bucket_tagging, Bucket=self.bucket, Tagging=more)
        self.s3.delete_bucket_tagging(Bucket=self.bucket)
        self.assert_error(404, "NoSuchTagSet", get)


class Attributes(TestCase):
    ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]

    def ask(self, key, attributes=None, **more):
        return self.s3.get_object_attributes(Bucket=self.bucket, Key=key, ObjectAttributes=attributes or self.ALL, **more)

    def test_of_an_object_in_one_piece(self):
        etag = self.put("a", b"body", ChecksumAlgorithm="SHA256")["ETag"].strip('"')
        answer = self.ask("a")
        self.assertEqual((etag, 4, "STANDARD"), (answer["ETag"], answer["ObjectSize"], answer["StorageClass"]))
        self.assertEqual(self.head("a", ChecksumMode="ENABLED")["ChecksumSHA256"], answer["Checksum"]["ChecksumSHA256"])
        self.assertNotIn("ObjectParts", answer)
        self.assertNotIn("ETag", self.ask("a", ["ObjectSize"]))
        self.assert_error(404, "NoSuchKey", self.ask, "missing")

    def test_of_an_object_in_parts(self):
        upload = {"Bucket": self.bucket, "Key": "a"}
        upload["UploadId"] = self.s3.create_multipart_upload(**upload, ChecksumAlgorithm="CRC32")["UploadId"]
        bodies, parts = [some_bytes(5 * MIB), some_bytes(5 * MIB, 1), b"end"], []
        for number, body in enumerate(bodies, 1):
            part = self.s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32")
            parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
        self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        found = self.ask("a")["ObjectParts"]
        self.assertEqual((3, False), (found["TotalPartsCount"], found["IsTruncated"]))
        self.assertEqual([len(body) for body in bodies], [part["Size"] for part in found["Parts"]])
        self.assertEqual([part["ChecksumCRC32"] for part in parts], [part["ChecksumCRC32"] for part in found["Parts"]])
        page = self.ask("a", MaxParts=1, PartNumberMarker=1)["ObjectParts"]
        self.assertEqual(([2], True, 2), ([part["PartNumber"] for part in page["Parts"]], page["IsTruncated"], page["NextPartNumberMarker"]))
        # boto3 holds what it reads against the part's checksum.
        third = self.s3.get_object(Bucket=self.bucket, Key="a", PartNumber=3, ChecksumMode="ENABLED")
        self.assertEqual((b"end", parts[2]["ChecksumCRC32"], 3), (third["Body"].read(), third["ChecksumCRC32"], third["PartsCount"]))


class ConditionalDeletes(TestCase):
    def test_they_are_about_the_current_version(self):
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        first, second = self.put("a", b"one"), self.put("a", b"two")
        delete = lambda of, etag: self.s3.delete_object(Bucket=self.bucket, Key="a", VersionId=of["VersionId"], IfMatch=etag)
        self.assert_error(412, "PreconditionFailed", delete, first, first["ETag"])
        delete(first, second["ETag"])
        self.assert_error(404, "NoSuchVersion", self.get, "a", VersionId=first["VersionId"])
        self.assertEqual(b"two", self.get("a"))
