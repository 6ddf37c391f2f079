"""Forms by which browsers upload files, made by `generate_presigned_post`."""

import uuid

from service import MIB, TestCase, client, some_bytes
from test_access import fetch


def encode(fields, file, name="a b.txt"):
    """A form as browsers send it: body and headers."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/x\r\n\r\n'
    body = b"".join([*parts, head.encode(), file, f"\r\n--{boundary}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


class Forms(TestCase):
    def form(self, key, s3=None, **more):
        return (s3 or self.s3).generate_presigned_post(self.bucket, key, **more)

    def post(self, form, file, **fields):
        body, headers = encode({**form["fields"], **fields}, file)
        return fetch(form["url"], "POST", body, headers)

    def assert_refused(self, status, code, answer):
        self.assertEqual(status, answer[0], answer[2])
        self.assertIn(f"<Code>{code}</Code>".encode(), answer[2])

    def test_files_are_uploaded(self):
        # Without a word about it, boto3 signs forms with version 2 for us-east-1.
        for signer in (None, client(signature_version="s3v4")):
            for key, size in [("a", 0), ("dir/${filename}", 5), ("é b+c", 20_000), ("large", 9 * MIB)]:
                with self.subTest(signer=signer, key=key):
                    body = some_bytes(size)
                    status, headers, answer = self.post(self.form(key, signer), body)
                    self.assertEqual((204, b""), (status, answer))
                    name = key.replace("${filename}", "a b.txt")
                    self.assertTrue(body == self.get(name), "the bytes are not the same")
                    self.assertEqual(self.head(name)["ETag"], headers["ETag"])

    def test_what_the_form_says_is_kept_and_answered(self):
        fields = {"Content-Type": "text/plain", "x-amz-meta-by": "me", "success_action_status": "201"}
        conditions = [{name: value} for name, value in fields.items()]
        status, headers, answer = self.post(self.form("a", Fields=fields, Conditions=conditions), b"body")
        self.assertEqual(201, status)
        self.assertIn(f"<Bucket>{self.bucket}</Bucket><Key>a</Key>".encode(), answer)
        self.assertTrue(headers["Location"].endswith(f"/{self.bucket}/a"), headers["Location"])
        self.assertEqual(("text/plain", {"by": "me"}), (self.head("a")["ContentType"], self.head("a")["Metadata"]))
        target = "https://app.example/done"
        redirect = self.form("a", Fields={"success_action_redirect": target}, Conditions=[{"success_action_redirect": target}])
        status, headers, _ = self.post(redirect, b"body")
        self.assertEqual(303, status)
        self.assertTrue(headers["Location"].startswith(f"{target}?bucket={self.bucket}&key=a&etag="), headers["Location"])

    def test_the_file_is_held_to_its_checksum(self):
        for algorithm, right, wrong in [
            ("SHA256", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="),
            ("CRC32", "NhCmhg==", "NSRBwg=="),
        ]:
            field = f"x-amz-checksum-{algorithm.lower()}"
            for value, status in [(right, 204), (wrong, 400)]:
                with self.subTest(field=field, value=value):
                    fields = {"x-amz-checksum-algorithm": algorithm, field: value}
                    form = self.form("a", Fields=fields, Conditions=[{name: text} for name, text in fields.items()])
                    answer = self.post(form, b"hello")
                    self.assertEqual((status, right if status == 204 else None), (answer[0], answer[1].get(field)))
            self.assertEqual(right, self.head("a", ChecksumMode="ENABLED")[f"Checksum{algorithm}"])

    def test_the_policy_is_held(self):
        for signer in (None, client(signature_version="s3v4")):
            with self.subTest(signer=signer):
                ranged = self.form("a", signer, Conditions=[["content-length-range", 3, 5]])
                self.assert_refused(400, "EntityTooLarge", self.post(ranged, b"123456"))
                self.assert_refused(400, "EntityTooSmall", self.post(ranged, b"12"))
                self.assert_refused(403, "AccessDenied", self.post(self.form("a", signer), b"x", key="other"))
                self.assert_refused(403, "AccessDenied", self.post(self.form("a", signer), b"x", acl="private"))
                self.assert_refused(403, "AccessDenied", self.post(self.form("a", signer, ExpiresIn=-1), b"x"))
                forged = self.form("a", signer)
                forged["fields"]["policy"] = self.form("a", signer, ExpiresIn=9999)["fields"]["policy"]
                self.assert_refused(403, "SignatureDoesNotMatch", self.post(forged, b"x"))
        self.assert_refused(403, "AccessDenied", self.post({"url": self.form("a")["url"], "fields": {"key": "a"}}, b"x"))
        self.assertEqual([], self.keys())
