"""Rules of CORS: what browsers are told, for requests that they ask about before and for those that they send at once."""

from service import ENDPOINT, TestCase, client
from test_access import fetch

RULES = [
    {
        "ID": "app", "AllowedOrigins": ["https://*.app.example"], "AllowedMethods": ["GET", "PUT", "POST"], "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 600,
    },
    {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]},
]
ORIGIN = {"Origin": "https://a.app.example"}


class Cors(TestCase):
    def setUp(self):
        super().setUp()
        self.s3.put_bucket_cors(Bucket=self.bucket, CORSConfiguration={"CORSRules": RULES})

    def preflight(self, url, method, **headers):
        asked = {**ORIGIN, "Access-Control-Request-Method": method, **headers}
        return fetch(url, "OPTIONS", headers=asked)

    def test_rules_are_kept_and_removed(self):
        self.assertEqual(RULES, self.s3.get_bucket_cors(Bucket=self.bucket)["CORSRules"])
        bad = {"CORSRules": [{"AllowedOrigins": ["*.*"], "AllowedMethods": ["GET"]}]}
        self.assert_error(400, "InvalidRequest", self.s3.put_bucket_cors, Bucket=self.bucket, CORSConfiguration=bad)
        self.s3.delete_bucket_cors(Bucket=self.bucket)
        self.assert_error(404, "NoSuchCORSConfiguration", self.s3.get_bucket_cors, Bucket=self.bucket)

    def test_a_page_uploads_by_a_presigned_url(self):
        for version in (None, "s3v4"):
            with self.subTest(version=version):
                signer = client(signature_version=version) if version else self.s3
                url = signer.generate_presigned_url("put_object", Params={"Bucket": self.bucket, "Key": "a"})
                status, headers, body = self.preflight(url, "PUT", **{"Access-Control-Request-Headers": "content-type"})
                self.assertEqual((200, b""), (status, body))
                self.assertEqual(ORIGIN["Origin"], headers["Access-Control-Allow-Origin"])
                self.assertEqual(("content-type", "600"), (headers["Access-Control-Allow-Headers"], headers["Access-Control-Max-Age"]))
                status, headers, _ = fetch(url, "PUT", b"body", headers=ORIGIN)
                self.assertEqual((200, ORIGIN["Origin"]), (status, headers["Access-Control-Allow-Origin"]))
                self.assertEqual("ETag", headers["Access-Control-Expose-Headers"])
                self.assertIn("Origin", headers["Vary"])
        self.assertEqual(b"body", self.get("a"))

    def test_what_no_rule_allows(self):
        url = f"{ENDPOINT}/{self.bucket}/a"
        for method, origin in [("DELETE", ORIGIN["Origin"]), ("PUT", "https://evil.example")]:
            status, headers, body = self.preflight(url, method, Origin=origin)
            self.assertEqual(403, status)
            self.assertIn(b"<Code>AccessForbidden</Code>", body)
            self.assertNotIn("Access-Control-Allow-Origin", headers)
        self.assertIn(b"<Method>PUT</Method><ResourceType>OBJECT</ResourceType>", body)
        for headers in ({}, ORIGIN, {"Access-Control-Request-Method": "GET"}):
            status, _, body = fetch(url, "OPTIONS", headers=headers)
            self.assertEqual(400, status)
            self.assertIn(b"<Code>BadRequest</Code>", body)
        # Nothing tells a bucket without rules from one that is not there.
        self.s3.delete_bucket_cors(Bucket=self.bucket)
        without = self.preflight(url, "GET")
        missing = self.preflight(f"{ENDPOINT}/{self.bucket}-missing/a", "GET")
        self.assertEqual((403, 403), (without[0], missing[0]))
