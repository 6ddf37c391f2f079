package sdk

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestVersions(t *testing.T) {
	client := newClient(t, once)
	bucket := newBucket(t, client)
	key := aws.String("note")
	before, err := client.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: bucket})
	must(t, err)
	equal(t, "state before", "", before.Status)
	// page: versions
	_, err = client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket:                  bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	// page end
	must(t, err)
	state, err := client.GetBucketVersioning(t.Context(), &s3.GetBucketVersioningInput{Bucket: bucket})
	must(t, err)
	equal(t, "state", types.BucketVersioningStatusEnabled, state.Status)

	first := put(t, client, bucket, *key, "first").VersionId
	second := put(t, client, bucket, *key, "second").VersionId
	deleted, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key})
	must(t, err)
	equal(t, "a delete marker was made", true, aws.ToBool(deleted.DeleteMarker))
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	failsAs[*types.NoSuchKey](t, err)
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: deleted.VersionId})
	fails(t, 405, "MethodNotAllowed", err)
	equal(t, "first", "first", get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: first}))
	equal(t, "second", "second", get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: second}))

	listed, err := client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: bucket})
	must(t, err)
	equal(t, "versions", 2, len(listed.Versions))
	equal(t, "delete markers", 1, len(listed.DeleteMarkers))
	equal(t, "newest first", *second, *listed.Versions[0].VersionId)
	equal(t, "oldest last", *first, *listed.Versions[1].VersionId)
	equal(t, "the marker is the latest", true, *listed.DeleteMarkers[0].IsLatest)

	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: deleted.VersionId})
	must(t, err)
	equal(t, "after the marker is gone", "second", get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key}))
	_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key, VersionId: second})
	must(t, err)
	equal(t, "after the second is gone", "first", get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key}))
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: second})
	fails(t, 404, "NoSuchVersion", err)

	_, err = client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket:                  bucket,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusSuspended},
	})
	must(t, err)
	put(t, client, bucket, *key, "third")
	put(t, client, bucket, *key, "fourth")
	listed, err = client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: bucket})
	must(t, err)
	// Of the two that were stored while it was suspended, the second has replaced the first.
	equal(t, "versions after suspension", 2, len(listed.Versions))
	equal(t, "id while suspended", "null", *listed.Versions[0].VersionId)
	equal(t, "fourth", "fourth", get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key, VersionId: aws.String("null")}))
}
