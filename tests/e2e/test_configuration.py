"""What tools ask of a bucket in passing: the answers that AWS gives where nobody configured anything."""

from service import TestCase


class Unconfigured(TestCase):
    def test_questions_get_true_answers(self):
        for code, ask in {
            "NoSuchBucketPolicy": self.s3.get_bucket_policy_status,
            "NoSuchCORSConfiguration": self.s3.get_bucket_cors,
            "NoSuchLifecycleConfiguration": self.s3.get_bucket_lifecycle_configuration,
            "NoSuchTagSet": self.s3.get_bucket_tagging,
            "NoSuchWebsiteConfiguration": self.s3.get_bucket_website,
            "ObjectLockConfigurationNotFoundError": self.s3.get_object_lock_configuration,
            "ReplicationConfigurationNotFoundError": self.s3.get_bucket_replication,
            "ServerSideEncryptionConfigurationNotFoundError": self.s3.get_bucket_encryption,
        }.items():
            with self.subTest(code=code):
                self.assert_error(404, code, ask, Bucket=self.bucket)
        for ask in [
            self.s3.list_bucket_analytics_configurations, self.s3.list_bucket_inventory_configurations,
            self.s3.list_bucket_metrics_configurations, self.s3.list_bucket_intelligent_tiering_configurations,
        ]:
            self.assertFalse(ask(Bucket=self.bucket)["IsTruncated"])
        self.assert_error(404, "NoSuchConfiguration", self.s3.get_bucket_metrics_configuration, Bucket=self.bucket, Id="a")
        blocks = self.s3.get_public_access_block(Bucket=self.bucket)["PublicAccessBlockConfiguration"]
        self.assertEqual([True] * 4, list(blocks.values()))
        self.assertNotIn("Status", self.s3.get_bucket_versioning(Bucket=self.bucket))
        self.assertIn("LocationConstraint", self.s3.get_bucket_location(Bucket=self.bucket))
        self.assertNotIn("LoggingEnabled", self.s3.get_bucket_logging(Bucket=self.bucket))
        self.put("a")
        for acl in (self.s3.get_bucket_acl(Bucket=self.bucket), self.s3.get_object_acl(Bucket=self.bucket, Key="a")):
            self.assertEqual(["FULL_CONTROL"], [grant["Permission"] for grant in acl["Grants"]])
            self.assertEqual(acl["Owner"]["ID"], acl["Grants"][0]["Grantee"]["ID"])

    def test_only_what_holds_already_may_be_set(self):
        owner = lambda name: {"Rules": [{"ObjectOwnership": name}]}
        self.s3.put_bucket_acl(Bucket=self.bucket, ACL="private")
        self.s3.put_bucket_ownership_controls(Bucket=self.bucket, OwnershipControls=owner("BucketOwnerEnforced"))
        self.assertEqual(
            owner("BucketOwnerEnforced"), self.s3.get_bucket_ownership_controls(Bucket=self.bucket)["OwnershipControls"]
        )
        self.put("a")
        self.s3.put_object_acl(Bucket=self.bucket, Key="a", ACL="bucket-owner-full-control")
        public = {"Bucket": self.bucket, "ACL": "public-read"}
        for call, more in [(self.s3.put_bucket_acl, {}), (self.s3.put_object_acl, {"Key": "a"}), (self.s3.put_object, {"Key": "b"})]:
            self.assert_error(400, "AccessControlListNotSupported", call, **public, **more)
        blocks = self.s3.get_public_access_block(Bucket=self.bucket)["PublicAccessBlockConfiguration"]
        self.s3.put_public_access_block(Bucket=self.bucket, PublicAccessBlockConfiguration=blocks)
        for call, more in [
            (self.s3.put_public_access_block, {"PublicAccessBlockConfiguration": {**blocks, "BlockPublicAcls": False}}),
            (self.s3.put_bucket_ownership_controls, {"OwnershipControls": owner("ObjectWriter")}),
            (self.s3.put_bucket_request_payment, {"RequestPaymentConfiguration": {"Payer": "Requester"}}),
        ]:
            self.assert_error(501, "NotImplemented", call, Bucket=self.bucket, **more)
