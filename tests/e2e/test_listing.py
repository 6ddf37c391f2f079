"""Listings: in order, complete, page by page, and folded at a delimiter."""

from service import TestCase

# In the order of their UTF-8 bytes.
KEYS = ["a", "a!", "a-/x", "a.txt", "a/", "a/1", "a/2/x", "a/2/y", "a0", "b/c/d", "b/c/e", "b/f", "c", "z", "é/1", "é/2"]


class Listing(TestCase):
    def setUp(self):
        super().setUp()
        for key in reversed(KEYS):
            self.put(key, key.encode())

    def folded(self, page_size=None, **more):
        """Keys and folders, in the order in which the pages bring them."""
        paginator = self.s3.get_paginator("list_objects_v2")
        found = []
        for page in paginator.paginate(Bucket=self.bucket, PaginationConfig={"PageSize": page_size} if page_size else {}, **more):
            keys = [entry["Key"] for entry in page.get("Contents", [])]
            folders = [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
            self.assertEqual(page["KeyCount"], len(keys) + len(folders))
            if page_size:
                self.assertLessEqual(page["KeyCount"], page_size)
            found += sorted(keys + folders, key=str.encode)
        return found

    def test_entries_say_what_head_says(self):
        for entry in self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]:
            head = self.head(entry["Key"])
            self.assertEqual(
                (head["ContentLength"], head["ETag"], head["LastModified"], "STANDARD"),
                (entry["Size"], entry["ETag"], entry["LastModified"].replace(microsecond=0), entry["StorageClass"]),
            )

    def test_every_key_in_the_order_of_its_bytes(self):
        self.assertEqual(KEYS, self.keys())
        for page_size in (1, 2, 3, 7, 1000):
            self.assertEqual(KEYS, self.keys(PaginationConfig={"PageSize": page_size}))

    def test_prefixes(self):
        for prefix in ["a", "a/", "a/2", "b/c/", "é", "é/", "", "nothing"]:
            with self.subTest(prefix=prefix):
                self.assertEqual([key for key in KEYS if key.startswith(prefix)], self.keys(Prefix=prefix))

    def test_folders(self):
        top = ["a", "a!", "a-/", "a.txt", "a/", "a0", "b/", "c", "z", "é/"]
        self.assertEqual(top, self.folded(Delimiter="/"))
        self.assertEqual(["a/", "a/1", "a/2/"], self.folded(Delimiter="/", Prefix="a/"))
        self.assertEqual(["b/c/", "b/f"], self.folded(Delimiter="/", Prefix="b/"))
        self.assertEqual(["b/"], self.folded(Delimiter="/", Prefix="b"))
        self.assertEqual(["b/c/d", "b/c/e"], self.folded(Delimiter="/", Prefix="b/c/"))
        # A folder is one entry and stands on one page only, whatever is on it.
        for page_size in (1, 2, 3):
            self.assertEqual(top, self.folded(page_size, Delimiter="/"))

    def test_delimiters_of_any_text(self):
        self.assertEqual(["a", "a!", "a-/x", "a.txt", "a/", "a/1", "a/2", "a0", "b/c/d", "b/c/e", "b/f", "c", "z", "é/1", "é/2"], self.folded(Delimiter="2"))
        self.assertEqual(["a", "a!", "a-/x", "a.txt", "a/", "a/1", "a/2/x", "a/2/y", "a0", "b/c/", "b/f", "c", "z", "é/1", "é/2"], self.folded(Delimiter="/c/"))

    def test_start_after(self):
        for start in ["", "a", "a/", "a/15", "b", "z", "zz", "é/1"]:
            with self.subTest(start=start):
                after = [key for key in KEYS if key.encode() > start.encode()]
                self.assertEqual(after, self.keys(StartAfter=start))
                self.assertEqual(after, self.keys(StartAfter=start, PaginationConfig={"PageSize": 2}))

    def test_the_first_version_of_the_call(self):
        page = self.s3.list_objects(Bucket=self.bucket, Delimiter="/", MaxKeys=5)
        self.assertTrue(page["IsTruncated"])
        self.assertEqual(["a", "a!", "a.txt"], [entry["Key"] for entry in page["Contents"]])
        self.assertEqual(["a-/", "a/"], [entry["Prefix"] for entry in page["CommonPrefixes"]])
        self.assertEqual("a/", page["NextMarker"])
        rest = self.s3.list_objects(Bucket=self.bucket, Delimiter="/", Marker=page["NextMarker"])
        self.assertFalse(rest["IsTruncated"])
        self.assertEqual(["a0", "c", "z"], [entry["Key"] for entry in rest["Contents"]])
        self.assertEqual(["b/", "é/"], [entry["Prefix"] for entry in rest["CommonPrefixes"]])

    def test_no_keys_at_all(self):
        none = self.s3.list_objects_v2(Bucket=self.bucket, MaxKeys=0)
        self.assertEqual((0, False), (none["KeyCount"], none["IsTruncated"]))

    def test_more_than_a_thousand(self):
        for number in range(1010):
            self.put(f"many/{number:04}")
        page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="many/", MaxKeys=5000)
        self.assertEqual((1000, True), (page["KeyCount"], page["IsTruncated"]))
        self.assertEqual([f"many/{number:04}" for number in range(1010)], self.keys(Prefix="many/"))

    def test_a_bad_continuation_token(self):
        self.assert_error(400, "InvalidArgument", self.s3.list_objects_v2, Bucket=self.bucket, ContinuationToken="not one of ours")
