"""What tools ask of a bucket in passing: the answers that AWS gives where nobody configured anything."""

from service import TestCase


class Unconfigured(TestCase):
    def test_questions_get_true_answers(self):
        for code, ask in {
            "NoSuchBucketPolicy": self.s3.get_bucket_policy,
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
        self.assert_error(404, "NoSuchBucketPolicy", self.s3.get_bucket_policy_status, Bucket=self.bucket)
        for ask in [
            self.s3.list_bucket_analytics_configurations, self.s3.list_bucket_inventory_configurations,
            self.s3.list_bucket_metrics_configurations, self.s3.list_bucket_intelligent_tiering_configurations,
        ]:
            self.assertFalse(ask(Bucket=self.bucket)["IsTruncated"])
        self.assert_error(404, "NoSuchConfiguration", self.s3.get_bucket_metrics_configuration, Bucket=self.bucket, Id="a")
        self.assertEqual("Disabled", self.s3.get_bucket_abac(Bucket=self.bucket)["AbacStatus"]["Status"])
        self.assertEqual("BucketOwner", self.s3.get_bucket_request_payment(Bucket=self.bucket)["Payer"])
        self.assertNotIn("Status", self.s3.get_bucket_accelerate_configuration(Bucket=self.bucket))
        for root in ("Topic", "Queue", "LambdaFunction"):
            self.assertNotIn(f"{root}Configurations", self.s3.get_bucket_notification_configuration(Bucket=self.bucket))
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
        self.put("a")
        self.s3.put_object_acl(Bucket=self.bucket, Key="a", ACL="bucket-owner-full-control")
        public = {"Bucket": self.bucket, "ACL": "public-read"}
        for call, more in [(self.s3.put_bucket_acl, {}), (self.s3.put_object_acl, {"Key": "a"}), (self.s3.put_object, {"Key": "b"})]:
            self.assert_error(400, "AccessControlListNotSupported", call, **public, **more)
        self.s3.put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration={})
        self.s3.put_bucket_logging(Bucket=self.bucket, BucketLoggingStatus={})
        for call, more in [
            (self.s3.put_bucket_ownership_controls, {"OwnershipControls": owner("ObjectWriter")}),
            (self.s3.put_bucket_request_payment, {"RequestPaymentConfiguration": {"Payer": "Requester"}}),
        ]:
            self.assert_error(501, "NotImplemented", call, Bucket=self.bucket, **more)


class Access(TestCase):
    """What a bucket is told of access to it. Nothing is public either way; tools read what they wrote, and wait until what they deleted is gone."""

    def test_public_access_blocks_are_kept_and_stay_deleted(self):
        names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        get = lambda: self.s3.get_public_access_block(Bucket=self.bucket)["PublicAccessBlockConfiguration"]
        self.assertEqual(dict.fromkeys(names, True), get())
        for blocks in ({name: name in names[:2] for name in names}, dict.fromkeys(names, False)):
            self.s3.put_public_access_block(Bucket=self.bucket, PublicAccessBlockConfiguration=blocks)
            self.assertEqual(blocks, get())
        public = {"Bucket": self.bucket, "ACL": "public-read"}
        self.assert_error(400, "AccessControlListNotSupported", self.s3.put_bucket_acl, **public)
        self.s3.delete_public_access_block(Bucket=self.bucket)
        gone = self.s3.get_public_access_block
        self.assert_error(404, "NoSuchPublicAccessBlockConfiguration", gone, Bucket=self.bucket)
        self.assert_error(400, "AccessControlListNotSupported", self.s3.put_bucket_acl, **public)

    def test_ownership_controls_are_kept_and_stay_deleted(self):
        controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        get = self.s3.get_bucket_ownership_controls
        for _ in range(2):
            self.assertEqual(controls, get(Bucket=self.bucket)["OwnershipControls"])
            self.s3.delete_bucket_ownership_controls(Bucket=self.bucket)
            self.assert_error(404, "OwnershipControlsNotFoundError", get, Bucket=self.bucket)
            self.s3.put_bucket_ownership_controls(Bucket=self.bucket, OwnershipControls=controls)
