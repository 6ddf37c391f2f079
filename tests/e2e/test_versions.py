"""Versioning: every version kept, found, and removed by its id; delete markers; suspension."""

from service import TestCase


class Versions(TestCase):
    def versioning(self, status):
        self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": status})

    def listed(self, page_size=None, **more):
        """Versions and delete markers, as (key, id, whether it is the latest, whether it is a marker), page by page."""
        found = []
        pages = self.s3.get_paginator("list_object_versions").paginate(
            Bucket=self.bucket, PaginationConfig={"PageSize": page_size} if page_size else {}, **more
        )
        for page in pages:
            for name in ("Versions", "DeleteMarkers"):
                found += [(entry["Key"], entry["VersionId"], entry["IsLatest"], name == "DeleteMarkers") for entry in page.get(name, [])]
        return found

    def test_a_bucket_is_not_versioned_until_it_is_told(self):
        self.assertNotIn("Status", self.s3.get_bucket_versioning(Bucket=self.bucket))
        self.assertNotIn("VersionId", self.put("a", b"1"))
        for status in ("Enabled", "Suspended"):
            self.versioning(status)
            self.assertEqual(status, self.s3.get_bucket_versioning(Bucket=self.bucket)["Status"])

    def test_every_version_is_kept(self):
        self.versioning("Enabled")
        ids = [self.put("a", str(number).encode())["VersionId"] for number in range(5)]
        self.assertEqual(5, len(set(ids)))
        self.assertEqual(b"4", self.get("a"))
        for number, version in enumerate(ids):
            self.assertEqual(str(number).encode(), self.get("a", VersionId=version))
            self.assertEqual(version, self.head("a", VersionId=version)["VersionId"])
        # The latest comes first.
        expected = [("a", version, version == ids[-1], False) for version in reversed(ids)]
        for page_size in (None, 1, 2):
            self.assertEqual(expected, self.listed(page_size))

    def test_a_delete_hides_and_can_be_undone(self):
        self.versioning("Enabled")
        first = self.put("a", b"1")["VersionId"]
        deleted = self.s3.delete_object(Bucket=self.bucket, Key="a")
        self.assertTrue(deleted["DeleteMarker"])
        marker = deleted["VersionId"]
        self.assert_error(404, "NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key="a")
        self.assert_error(405, "MethodNotAllowed", self.s3.get_object, Bucket=self.bucket, Key="a", VersionId=marker)
        self.assertEqual([], self.keys())
        self.assertEqual(b"1", self.get("a", VersionId=first))
        self.assertEqual({("a", first, False, False), ("a", marker, True, True)}, set(self.listed()))
        self.s3.delete_object(Bucket=self.bucket, Key="a", VersionId=marker)
        self.assertEqual((b"1", ["a"]), (self.get("a"), self.keys()))

    def test_removing_the_latest_version_brings_back_the_one_before(self):
        self.versioning("Enabled")
        ids = [self.put("a", body)["VersionId"] for body in (b"1", b"2", b"3")]
        self.s3.delete_object(Bucket=self.bucket, Key="a", VersionId=ids[2])
        self.assertEqual(b"2", self.get("a"))
        self.s3.delete_object(Bucket=self.bucket, Key="a", VersionId=ids[0])
        self.assertEqual([("a", ids[1], True, False)], self.listed())
        self.assert_error(404, "NoSuchVersion", self.s3.get_object, Bucket=self.bucket, Key="a", VersionId=ids[0])
        self.s3.delete_object(Bucket=self.bucket, Key="a", VersionId=ids[1])
        self.assert_error(404, "NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key="a")
        self.assertEqual([], self.listed())

    def test_what_was_there_before_is_the_null_version(self):
        self.put("a", b"before")
        self.versioning("Enabled")
        self.put("a", b"after")
        self.assertEqual(b"before", self.get("a", VersionId="null"))
        self.assertIn(("a", "null", False, False), self.listed())

    def test_while_suspended_there_is_one_null_version(self):
        self.versioning("Enabled")
        kept = self.put("a", b"kept")["VersionId"]
        self.versioning("Suspended")
        self.assertNotIn("VersionId", self.put("a", b"1"))
        self.put("a", b"2")
        copied = self.s3.copy_object(Bucket=self.bucket, Key="copy", CopySource={"Bucket": self.bucket, "Key": "a"})
        self.assertEqual(("null", None), (copied["VersionId"], copied.get("CopySourceVersionId")))
        self.s3.delete_object(Bucket=self.bucket, Key="copy", VersionId="null")
        self.assertEqual([("a", "null", True, False), ("a", kept, False, False)], self.listed())
        self.assertEqual((b"2", b"kept"), (self.get("a"), self.get("a", VersionId=kept)))
        # A delete replaces the null version with a marker whose id is null too.
        self.assertEqual("null", self.s3.delete_object(Bucket=self.bucket, Key="a")["VersionId"])
        self.assertEqual({("a", "null", True, True), ("a", kept, False, False)}, set(self.listed()))

    def test_versions_of_many_keys_in_pages_and_folders(self):
        self.versioning("Enabled")
        for key in ("a", "b/1", "b/2", "c"):
            self.put(key, b"1")
            self.put(key, b"2")
        self.s3.delete_object(Bucket=self.bucket, Key="c")
        for page_size in (1, 2, 3, 1000):
            found = self.listed(page_size)
            self.assertEqual(9, len(found))
            self.assertEqual(sorted(key for key, *_ in found), [key for key, *_ in found])
        folded = self.s3.list_object_versions(Bucket=self.bucket, Delimiter="/")
        self.assertEqual(["b/"], [entry["Prefix"] for entry in folded["CommonPrefixes"]])
        self.assertEqual(4, len([entry for entry in self.listed(Prefix="b/")]))

    def test_deleting_versions_many_at_once(self):
        self.versioning("Enabled")
        ids = [self.put("a", body)["VersionId"] for body in (b"1", b"2")]
        answer = self.s3.delete_objects(
            Bucket=self.bucket, Delete={"Objects": [{"Key": "a", "VersionId": ids[0]}, {"Key": "a"}]}
        )
        self.assertEqual(2, len(answer["Deleted"]))
        self.assertTrue(any(entry.get("DeleteMarker") for entry in answer["Deleted"]))
        self.assertEqual(2, len(self.listed()))

    def test_a_version_is_copied_by_its_id(self):
        self.versioning("Enabled")
        first = self.put("a", b"1")["VersionId"]
        self.put("a", b"2")
        copied = self.s3.copy_object(Bucket=self.bucket, Key="b", CopySource={"Bucket": self.bucket, "Key": "a", "VersionId": first})
        self.assertEqual((first, b"1"), (copied["CopySourceVersionId"], self.get("b")))
