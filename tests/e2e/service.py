"""What every test here shares: clients of the service under test, buckets that clean up after themselves, and bytes to store.

The service is named by the variables that boto3 itself reads (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, and AWS_CA_BUNDLE over HTTPS), so clients are made as users make them: with the stock defaults.
"""

import itertools
import os
import random
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL_S3"]
LONG = os.environ.get("CAIRN_LONG") == "1"
MIB = 1024 * 1024

_bucket_numbers = itertools.count(1)


def client(**config):
    """A client as `boto3.client("s3")` gives it. A test that expects an error must not wait for retries, so there are none."""
    return boto3.client("s3", config=Config(retries={"total_max_attempts": 1}, **config))


def some_bytes(length, seed=0):
    """Bytes that do not compress or repeat, the same in every run."""
    source = random.Random(f"{seed}:{length}")
    # Not all at once: Python makes no more than 256 MiB.
    return b"".join(source.randbytes(min(MIB, length - start)) for start in range(0, length, MIB))


def empty(s3, bucket):
    """Removes everything from a bucket: versions, delete markers, objects and uploads."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


class TestCase(unittest.TestCase):
    """A test with a client, `self.s3`, and an empty bucket of its own, `self.bucket`."""

    maxDiff = None

    def setUp(self):
        self.s3 = client()
        self.bucket = self.new_bucket()

    def new_bucket(self):
        """An empty bucket that is gone after the test."""
        bucket = f"e2e-{os.getpid()}-{next(_bucket_numbers)}"
        self.s3.create_bucket(Bucket=bucket)
        self.addCleanup(self._remove_bucket, bucket)
        return bucket

    def _remove_bucket(self, bucket):
        empty(self.s3, bucket)
        self.s3.delete_bucket(Bucket=bucket)

    def put(self, key, body=b"", **more):
        """Stores an object in the test's bucket."""
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def get(self, key, **more):
        """The bytes of an object in the test's bucket."""
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)["Body"].read()

    def head(self, key, **more):
        """What HEAD says of an object in the test's bucket."""
        return self.s3.head_object(Bucket=self.bucket, Key=key, **more)

    def keys(self, **more):
        """The keys of the test's bucket, in the order of the listing, through the paginator."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, **more)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def assert_error(self, status, code, call, *arguments, **more):
        """The call must fail with this status and this S3 error code. HEAD has no body, so there the code is the status itself."""
        with self.assertRaises(ClientError) as raised:
            call(*arguments, **more)
        response = raised.exception.response
        self.assertEqual((status, code), (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]))
        return response
