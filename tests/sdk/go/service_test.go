// Package sdk holds the tests of the AWS SDK for Go 2 against the service that AWS_ENDPOINT_URL_S3 names. Clients are made as programs make
// them, with the SDK's defaults; the SDK reads its own variables (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, and AWS_CA_BUNDLE
// over HTTPS), and nothing else of the environment decides.
package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const mib = 1024 * 1024

var bucketNumbers atomic.Int32

// newClient makes a client of the defaults, with what a test changes of them.
func newClient(t *testing.T, options ...func(*s3.Options)) *s3.Client {
	t.Helper()
	// page: client
	settings, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	client := s3.NewFromConfig(settings, options...)
	// page end
	return client
}

// newBucket makes an empty bucket that is gone after the test.
func newBucket(t *testing.T, client *s3.Client) *string {
	t.Helper()
	name := aws.String(fmt.Sprintf("go-%d-%d", os.Getpid(), bucketNumbers.Add(1)))
	_, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: name})
	must(t, err)
	t.Cleanup(func() {
		// The test's own context has ended by now.
		ctx := context.Background()
		versions := s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: name})
		for versions.HasMorePages() {
			page, err := versions.NextPage(ctx)
			must(t, err)
			var doomed []types.ObjectIdentifier
			for _, version := range page.Versions {
				doomed = append(doomed, types.ObjectIdentifier{Key: version.Key, VersionId: version.VersionId})
			}
			for _, marker := range page.DeleteMarkers {
				doomed = append(doomed, types.ObjectIdentifier{Key: marker.Key, VersionId: marker.VersionId})
			}
			if len(doomed) > 0 {
				deleted, err := client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: name, Delete: &types.Delete{Objects: doomed}})
				must(t, err)
				equal(t, "errors of DeleteObjects", 0, len(deleted.Errors))
				equal(t, "deleted", len(doomed), len(deleted.Deleted))
			}
		}
		_, err := client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: name})
		must(t, err)
	})
	return name
}

// put stores an object.
func put(t *testing.T, client *s3.Client, bucket *string, key, body string) *s3.PutObjectOutput {
	t.Helper()
	output, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: bytes.NewReader([]byte(body))})
	must(t, err)
	return output
}

// get gives the bytes of an object.
func get(t *testing.T, client *s3.Client, input *s3.GetObjectInput) string {
	t.Helper()
	output, err := client.GetObject(t.Context(), input)
	must(t, err)
	defer output.Body.Close()
	body, err := io.ReadAll(output.Body)
	must(t, err)
	return string(body)
}

// someBytes gives bytes that do not compress or repeat, the same in every run.
func someBytes(length int) []byte {
	body := make([]byte, length)
	rand.New(rand.NewSource(int64(length))).Read(body)
	return body
}

// mediumBytes is how many bytes a large file has.
func mediumBytes(t *testing.T) int {
	t.Helper()
	length, err := strconv.Atoi(os.Getenv("CAIRN_TEST_MEDIUM_BYTES"))
	must(t, err)
	return length
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, expected, actual T) {
	t.Helper()
	if expected != actual {
		t.Fatalf("%s: expected %v, and it is %v", what, expected, actual)
	}
}

func same(t *testing.T, expected, actual []byte) {
	t.Helper()
	if !bytes.Equal(expected, actual) {
		t.Fatalf("other bytes: %d were stored, %d came back", len(expected), len(actual))
	}
}

// fails holds an error to its status and its S3 error code.
func fails(t *testing.T, status int, code string, err error) {
	t.Helper()
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) {
		t.Fatalf("expected %d %s, and the error is %v", status, code, err)
	}
	var said smithy.APIError
	if !errors.As(err, &said) {
		t.Fatalf("not an error of the API: %v", err)
	}
	equal(t, "status", status, response.HTTPStatusCode())
	equal(t, "code", code, said.ErrorCode())
}

// failsAs holds an error to the SDK's type for it.
func failsAs[T error](t *testing.T, err error) {
	t.Helper()
	var typed T
	if !errors.As(err, &typed) {
		t.Fatalf("expected %T, and the error is %v", typed, err)
	}
}

// once makes a client that does not try again: a test that expects an error must not wait.
func once(options *s3.Options) {
	options.RetryMaxAttempts = 1
}
