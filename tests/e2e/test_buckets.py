"""Buckets: made, found, listed, and removed when they are empty."""

import datetime

from service import TestCase


class Buckets(TestCase):
    def test_a_bucket_is_there_after_it_is_made(self):
        self.assertEqual(200, self.s3.head_bucket(Bucket=self.bucket)["ResponseMetadata"]["HTTPStatusCode"])
        # us-east-1 is spelled as no location at all.
        self.assertIsNone(self.s3.get_bucket_location(Bucket=self.bucket)["LocationConstraint"])

    def test_a_bucket_has_its_tags_from_the_start(self):
        name = f"{self.bucket}-tagged"
        tags = [{"Key": "team", "Value": "alps"}]
        made = self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"Tags": tags})
        self.addCleanup(self.s3.delete_bucket, Bucket=name)
        self.assertEqual(f"arn:aws:s3:::{name}", made["BucketArn"])
        self.assertEqual(tags, self.s3.get_bucket_tagging(Bucket=name)["TagSet"])

    def test_listing_shows_every_bucket_in_order_with_its_date(self):
        made = [self.bucket, self.new_bucket(), self.new_bucket()]
        listed = self.s3.list_buckets()["Buckets"]
        names = [bucket["Name"] for bucket in listed]
        self.assertEqual(sorted(names), names)
        self.assertLessEqual(set(made), set(names))
        now = datetime.datetime.now(datetime.timezone.utc)
        for bucket in listed:
            if bucket["Name"] in made:
                self.assertLess(abs(now - bucket["CreationDate"]), datetime.timedelta(minutes=5))

    def test_a_bucket_that_is_not_there(self):
        missing = f"{self.bucket}-missing"
        self.assert_error(404, "404", self.s3.head_bucket, Bucket=missing)
        self.assert_error(404, "NoSuchBucket", self.s3.list_objects_v2, Bucket=missing)
        self.assert_error(404, "NoSuchBucket", self.s3.put_object, Bucket=missing, Key="a", Body=b"a")
        self.assert_error(404, "NoSuchBucket", self.s3.get_object, Bucket=missing, Key="a")
        self.assert_error(404, "NoSuchBucket", self.s3.delete_bucket, Bucket=missing)

    def test_only_an_empty_bucket_is_removed(self):
        self.put("a", b"1")
        self.assert_error(409, "BucketNotEmpty", self.s3.delete_bucket, Bucket=self.bucket)
        self.assertEqual(b"1", self.get("a"))

    def test_names_that_s3_does_not_allow(self):
        # boto3 checks what it can itself; these pass its check.
        for name in ["ab", "UpperCase", "under_score", "192.168.5.4", "two..dots", "-dash", "dash-", "a" * 64]:
            with self.subTest(name=name):
                self.assert_error(400, "InvalidBucketName", self.s3.create_bucket, Bucket=name)

    def test_an_object_in_one_bucket_is_not_in_another(self):
        other = self.new_bucket()
        self.put("a", b"here")
        self.assert_error(404, "NoSuchKey", self.s3.get_object, Bucket=other, Key="a")
        self.assertNotIn("Contents", self.s3.list_objects_v2(Bucket=other))
