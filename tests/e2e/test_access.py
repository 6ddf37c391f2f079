"""Who may ask, and how: signatures in the header and in the URL, by path and by host, and what a forged one is told."""

import contextlib
import http.client
import os
import re
import socket
import ssl
import time
import unittest
import unittest.mock
import urllib.parse

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from service import ENDPOINT, TestCase, client

TLS = ssl.create_default_context(cafile=os.environ["AWS_CA_BUNDLE"]) if ENDPOINT.startswith("https") else None


def fetch(url, method="GET", body=None, headers=None):
    """Status, headers and body of a plain HTTP request that knows nothing of S3 and adds no header of its own."""
    parts = urllib.parse.urlsplit(url)
    if TLS:
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=TLS)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port)
    with contextlib.closing(connection):
        connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def presigners():
    """Clients that sign URLs in the two ways in use. Without a word about it, boto3 and AWS CLI 1 sign with version 2 for us-east-1."""
    return {"stock": client(), "version 4": client(signature_version="s3v4")}


class Presigned(TestCase):
    def url(self, operation, key, seconds=60, s3=None, **more):
        parameters = {"Bucket": self.bucket, "Key": key, **more}
        return (s3 or self.s3).generate_presigned_url(operation, Params=parameters, ExpiresIn=seconds)

    def test_reading_and_writing_without_a_key(self):
        for name, s3 in presigners().items():
            for key in ("a", "dir/a b+c%2F&é🏔️"):
                with self.subTest(signer=name, key=key):
                    status, _, _ = fetch(self.url("put_object", key, s3=s3), "PUT", b"body")
                    self.assertEqual((200, b"body"), (status, self.get(key)))
                    status, headers, body = fetch(self.url("get_object", key, s3=s3))
                    self.assertEqual((200, "4", b"body"), (status, headers["Content-Length"], body))
                    status, headers, body = fetch(self.url("head_object", key, s3=s3), "HEAD")
                    self.assertEqual((200, "4", b""), (status, headers["Content-Length"], body))
                    self.assertEqual(204, fetch(self.url("delete_object", key, s3=s3), "DELETE")[0])
                    self.assertEqual(404, fetch(self.url("get_object", key, s3=s3))[0])

    def test_answers_with_the_headers_the_signer_chose(self):
        self.put("a", b"body")
        disposition = 'attachment; filename="a b.txt"'
        for name, s3 in presigners().items():
            with self.subTest(signer=name):
                url = self.url("get_object", "a", s3=s3, ResponseContentType="text/x", ResponseContentDisposition=disposition)
                status, headers, _ = fetch(url)
                self.assertEqual((200, "text/x", disposition), (status, headers["Content-Type"], headers["Content-Disposition"]))

    def test_what_the_signer_did_not_sign_is_refused(self):
        self.put("a", b"body")
        self.put("b", b"secret")
        for name, s3 in presigners().items():
            url = self.url("get_object", "a", s3=s3)
            later = re.sub("(Expires=)([0-9]+)", lambda found: f"{found[1]}{int(found[2]) + 1}", url)
            for forged in (url.replace("/a?", "/b?"), later, url + "&response-content-type=text/html"):
                with self.subTest(signer=name, url=forged):
                    status, _, body = fetch(forged)
                    self.assertEqual((403, True), (status, b"<Code>SignatureDoesNotMatch</Code>" in body))
            self.assertEqual(403, fetch(url, "DELETE")[0])
        self.assertEqual(b"body", self.get("a"))

    def test_it_expires(self):
        self.put("a", b"body")
        urls = {name: self.url("get_object", "a", seconds=1, s3=s3) for name, s3 in presigners().items()}
        time.sleep(2.5)
        for name, url in urls.items():
            with self.subTest(signer=name):
                status, _, body = fetch(url)
                self.assertEqual((403, True), (status, b"<Code>AccessDenied</Code>" in body))


class Signatures(TestCase):
    def test_forged_ones(self):
        self.put("a", b"body")
        wrong_secret = boto3.client("s3", aws_secret_access_key="wrong", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"])
        unknown_key = boto3.client("s3", aws_access_key_id="AKIDUNKNOWN000000000", aws_secret_access_key="wrong")
        nobody = client(signature_version=UNSIGNED)
        for s3, code in [(wrong_secret, "SignatureDoesNotMatch"), (unknown_key, "InvalidAccessKeyId"), (nobody, "AccessDenied")]:
            with self.subTest(code=code):
                self.assert_error(403, code, s3.get_object, Bucket=self.bucket, Key="a")
                self.assert_error(403, code, s3.put_object, Bucket=self.bucket, Key="a", Body=b"other")
                self.assert_error(403, code, s3.delete_object, Bucket=self.bucket, Key="a")
                self.assert_error(403, code, s3.list_objects_v2, Bucket=self.bucket)
        self.assertEqual(b"body", self.get("a"))


class Hosts(TestCase):
    """The bucket in the name of the host, below the domain that the service was given."""

    def setUp(self):
        super().setUp()
        domain = os.environ.get("CAIRN_TEST_DOMAIN")
        if not domain:
            raise unittest.SkipTest("the service has no domain")
        resolve = socket.getaddrinfo

        def to_loopback(host, *arguments, **more):
            return resolve("127.0.0.1" if str(host).endswith(domain) else host, *arguments, **more)

        patch = unittest.mock.patch("socket.getaddrinfo", to_loopback)
        patch.start()
        self.addCleanup(patch.stop)
        parts = urllib.parse.urlsplit(ENDPOINT)
        self.by_host = boto3.client(
            "s3", endpoint_url=f"{parts.scheme}://{domain}:{parts.port}", config=Config(s3={"addressing_style": "virtual"})
        )

    def test_the_bucket_is_found_by_its_host(self):
        for key in ("a", "dir/a b+c%2F", f"{self.bucket}/a"):
            with self.subTest(key=key):
                self.by_host.put_object(Bucket=self.bucket, Key=key, Body=key.encode())
                self.assertEqual(key.encode(), self.get(key))
                self.assertEqual(key.encode(), self.by_host.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        listed = self.by_host.list_objects_v2(Bucket=self.bucket)["Contents"]
        self.assertEqual(3, len(listed))
        self.assertIn(self.bucket, [bucket["Name"] for bucket in self.by_host.list_buckets()["Buckets"]])


class NotThereYet(TestCase):
    def test_it_is_said_and_not_pretended(self):
        website = {"IndexDocument": {"Suffix": "index.html"}}
        self.assert_error(
            501, "NotImplemented", self.s3.put_bucket_website, Bucket=self.bucket, WebsiteConfiguration=website
        )
        self.assert_error(
            501, "NotImplemented", self.s3.put_object, Bucket=self.bucket, Key="a", Body=b"a", ServerSideEncryption="aws:kms"
        )
        self.assertEqual([], self.keys())
