"""Checksums: of every algorithm, verified on the way in, kept, and given back; of whole objects and of parts."""

import base64
import hashlib
import zlib

from awscrt import checksums
from service import MIB, TestCase, some_bytes


def encoded(number, length):
    return base64.b64encode(number.to_bytes(length, "big")).decode()


ALGORITHMS = {
    "CRC32": lambda body: encoded(zlib.crc32(body), 4),
    "CRC32C": lambda body: encoded(checksums.crc32c(body), 4),
    "CRC64NVME": lambda body: encoded(checksums.crc64nvme(body), 8),
    "SHA1": lambda body: base64.b64encode(hashlib.sha1(body).digest()).decode(),
    "SHA256": lambda body: base64.b64encode(hashlib.sha256(body).digest()).decode(),
}


class Checksums(TestCase):
    def test_the_client_computes_and_the_service_keeps(self):
        for body in (b"", some_bytes(100), some_bytes(9 * MIB)):
            for name, compute in ALGORITHMS.items():
                with self.subTest(algorithm=name, size=len(body)):
                    field, expected = f"Checksum{name}", compute(body)
                    self.assertEqual(expected, self.put(name, body, ChecksumAlgorithm=name)[field])
                    self.assertEqual(expected, self.head(name, ChecksumMode="ENABLED")[field])
                    # The client verifies what it reads against this.
                    answer = self.s3.get_object(Bucket=self.bucket, Key=name, ChecksumMode="ENABLED")
                    self.assertEqual((expected, body), (answer[field], answer["Body"].read()))

    def test_a_checksum_that_the_caller_gives(self):
        body = some_bytes(1000)
        for name, compute in ALGORITHMS.items():
            with self.subTest(algorithm=name):
                field = f"Checksum{name}"
                self.assertEqual(compute(body), self.put("good", body, **{field: compute(body)})[field])
                self.assert_error(400, "BadDigest", self.put, "bad", body, **{field: compute(b"something else")})
                self.assert_error(400, "InvalidRequest", self.put, "bad", body, **{field: "not a checksum"})
        self.assertEqual(["good"], self.keys())

    def test_md5(self):
        good = base64.b64encode(hashlib.md5(b"body").digest()).decode()
        other = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        self.put("good", b"body", ContentMD5=good)
        self.assert_error(400, "BadDigest", self.put, "bad", b"body", ContentMD5=other)
        self.assert_error(400, "InvalidDigest", self.put, "bad", b"body", ContentMD5="nonsense")
        self.assertEqual(["good"], self.keys())

    def test_an_object_has_a_checksum_by_default(self):
        self.put("a", b"body")
        self.assertEqual(ALGORITHMS["CRC32"](b"body"), self.head("a", ChecksumMode="ENABLED")["ChecksumCRC32"])

    def test_a_copy_has_the_checksum_of_its_source_or_a_new_one(self):
        body = some_bytes(1000)
        stored = self.put("source", body, ChecksumAlgorithm="SHA256")
        source = {"Bucket": self.bucket, "Key": "source"}
        self.s3.copy_object(Bucket=self.bucket, Key="same", CopySource=source)
        self.assertEqual(stored["ChecksumSHA256"], self.head("same", ChecksumMode="ENABLED")["ChecksumSHA256"])
        self.s3.copy_object(Bucket=self.bucket, Key="new", CopySource=source, ChecksumAlgorithm="CRC32C")
        self.assertEqual(ALGORITHMS["CRC32C"](body), self.head("new", ChecksumMode="ENABLED")["ChecksumCRC32C"])


class MultipartChecksums(TestCase):
    def upload(self, name, kind):
        """An object of two parts; gives its bytes, the parts' own checksums, and what completing it answered."""
        field = f"Checksum{name}"
        bodies = [some_bytes(5 * MIB, 1), some_bytes(77, 2)]
        begun = self.s3.create_multipart_upload(Bucket=self.bucket, Key="object", ChecksumAlgorithm=name, ChecksumType=kind)
        self.assertEqual((name, kind), (begun["ChecksumAlgorithm"], begun["ChecksumType"]))
        parts = []
        for number, body in enumerate(bodies, 1):
            part = self.s3.upload_part(
                Bucket=self.bucket, Key="object", UploadId=begun["UploadId"], PartNumber=number, Body=body, ChecksumAlgorithm=name
            )
            self.assertEqual(ALGORITHMS[name](body), part[field])
            parts.append({"PartNumber": number, "ETag": part["ETag"], field: part[field]})
        done = self.s3.complete_multipart_upload(
            Bucket=self.bucket, Key="object", UploadId=begun["UploadId"], MultipartUpload={"Parts": parts}
        )
        return bodies, [part[field] for part in parts], done

    def test_composite(self):
        for name in ("CRC32", "CRC32C", "SHA1", "SHA256"):
            with self.subTest(algorithm=name):
                bodies, of_parts, done = self.upload(name, "COMPOSITE")
                expected = ALGORITHMS[name](b"".join(map(base64.b64decode, of_parts))) + "-2"
                self.assertEqual((expected, "COMPOSITE"), (done[f"Checksum{name}"], done["ChecksumType"]))
                self.assertEqual(expected, self.head("object", ChecksumMode="ENABLED")[f"Checksum{name}"])
                self.assertTrue(b"".join(bodies) == self.get("object"), "the bytes are not the same")

    def test_of_the_full_object(self):
        for name in ("CRC32", "CRC32C", "CRC64NVME"):
            with self.subTest(algorithm=name):
                bodies, _, done = self.upload(name, "FULL_OBJECT")
                expected = ALGORITHMS[name](b"".join(bodies))
                self.assertEqual((expected, "FULL_OBJECT"), (done[f"Checksum{name}"], done["ChecksumType"]))
                self.assertEqual(expected, self.head("object", ChecksumMode="ENABLED")[f"Checksum{name}"])

    def test_a_sha_is_never_of_the_full_object(self):
        self.assert_error(
            400, "InvalidRequest", self.s3.create_multipart_upload,
            Bucket=self.bucket, Key="object", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT",
        )

    def test_a_part_whose_checksum_is_wrong(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="object", ChecksumAlgorithm="CRC32")["UploadId"]
        wrong = ALGORITHMS["CRC32"](b"something else")
        part = {"Bucket": self.bucket, "Key": "object", "UploadId": upload, "PartNumber": 1}
        self.assert_error(400, "BadDigest", self.s3.upload_part, Body=b"body", ChecksumCRC32=wrong, **part)
        self.assertNotIn("Parts", self.s3.list_parts(Bucket=self.bucket, Key="object", UploadId=upload))
