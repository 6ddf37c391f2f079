package sdk

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestObjectsAreStoredReadDescribedCopiedAndDeleted(t *testing.T) {
	client := newClient(t)
	bucket := newBucket(t, client)
	for _, key := range []string{"plain", "a b+c%25/é 高山/🏔", "//double//", "back\\slash", "q?a=b&c#d", "dots/../up", "'quote\"<x>"} {
		t.Run(key, func(t *testing.T) {
			body := "bytes of " + key
			// page: put and get
			stored, err := client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket:      bucket,
				Key:         aws.String(key),
				Body:        strings.NewReader(body),
				ContentType: aws.String("text/plain"),
				Metadata:    map[string]string{"of": "test"},
			})
			if err != nil {
				t.Fatal(err)
			}
			found, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String(key)})
			if err != nil {
				t.Fatal(err)
			}
			defer found.Body.Close()
			back, err := io.ReadAll(found.Body)
			// page end
			must(t, err)
			equal(t, "body", body, string(back))
			equal(t, "ETag", *stored.ETag, *found.ETag)
			equal(t, "type", "text/plain", *found.ContentType)
			equal(t, "metadata", "test", found.Metadata["of"])

			part := get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: &key, Range: aws.String("bytes=6-7")})
			equal(t, "range", "of", part)
			head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: &key})
			must(t, err)
			equal(t, "length", int64(len(body)), *head.ContentLength)

			source := *bucket + "/" + url.PathEscape(key)
			_, err = client.CopyObject(t.Context(), &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("copy of " + key), CopySource: &source})
			must(t, err)
			copied, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("copy of " + key)})
			must(t, err)
			equal(t, "metadata of the copy", "test", copied.Metadata["of"])
			equal(t, "ETag of the copy", *stored.ETag, *copied.ETag)

			_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: &key})
			must(t, err)
			_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: &key})
			fails(t, 404, "NoSuchKey", err)
		})
	}
}

func TestErrorsHaveTheirTypes(t *testing.T) {
	client := newClient(t, once)
	bucket := newBucket(t, client)
	nothing := aws.String("nothing")

	_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: nothing})
	failsAs[*types.NoSuchKey](t, err)
	_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: nothing})
	failsAs[*types.NotFound](t, err)
	_, err = client.HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("no-such-bucket")})
	failsAs[*types.NotFound](t, err)
	_, err = client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("no-such-bucket")})
	failsAs[*types.NoSuchBucket](t, err)
	_, err = client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("Not_A_Bucket")})
	fails(t, 400, "InvalidBucketName", err)
	_, err = client.UploadPart(t.Context(), &s3.UploadPartInput{
		Bucket: bucket, Key: nothing, UploadId: aws.String("none"), PartNumber: aws.Int32(1), Body: strings.NewReader("x"),
	})
	fails(t, 404, "NoSuchUpload", err)
	put(t, client, bucket, "something", "x")
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("something"), Range: aws.String("bytes=5-")})
	fails(t, 416, "InvalidRange", err)
	_, err = client.DeleteBucket(t.Context(), &s3.DeleteBucketInput{Bucket: bucket})
	fails(t, 409, "BucketNotEmpty", err)
	forger := newClient(t, once, func(options *s3.Options) {
		options.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			credentials, err := client.Options().Credentials.Retrieve(ctx)
			credentials.SecretAccessKey += "x"
			return credentials, err
		})
	})
	_, err = forger.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("something")})
	fails(t, 403, "SignatureDoesNotMatch", err)
}

func TestWritesUnderConditions(t *testing.T) {
	client := newClient(t, once)
	bucket := newBucket(t, client)
	write := func(body string, change func(*s3.PutObjectInput)) (*s3.PutObjectOutput, error) {
		input := &s3.PutObjectInput{Bucket: bucket, Key: aws.String("state"), Body: strings.NewReader(body)}
		change(input)
		return client.PutObject(t.Context(), input)
	}
	first, err := write("first", func(input *s3.PutObjectInput) { input.IfNoneMatch = aws.String("*") })
	must(t, err)
	_, err = write("other", func(input *s3.PutObjectInput) { input.IfNoneMatch = aws.String("*") })
	fails(t, 412, "PreconditionFailed", err)
	second, err := write("second", func(input *s3.PutObjectInput) { input.IfMatch = first.ETag })
	must(t, err)
	_, err = write("third", func(input *s3.PutObjectInput) { input.IfMatch = first.ETag })
	fails(t, 412, "PreconditionFailed", err)
	equal(t, "body", "second", get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("state")}))

	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("state"), IfNoneMatch: second.ETag})
	fails(t, 304, "NotModified", err)
	_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: aws.String("state"), IfMatch: first.ETag})
	fails(t, 412, "PreconditionFailed", err)
}

func TestPaginatorsGiveEverythingOnce(t *testing.T) {
	client := newClient(t)
	bucket := newBucket(t, client)
	var expected []string
	for number := range 25 {
		key := fmt.Sprintf("folder %d/key+%02d", number%4, number)
		expected = append(expected, key)
		put(t, client, bucket, key, key)
	}
	slices.Sort(expected)

	var found []string
	// page: list
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, MaxKeys: aws.Int32(10)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range page.Contents {
			found = append(found, *object.Key)
		}
	}
	// page end
	equal(t, "keys", strings.Join(expected, "\n"), strings.Join(found, "\n"))

	var folders []string
	pages = s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket, Delimiter: aws.String("/"), MaxKeys: aws.Int32(3)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		equal(t, "keys at the root", 0, len(page.Contents))
		for _, folder := range page.CommonPrefixes {
			folders = append(folders, *folder.Prefix)
		}
	}
	equal(t, "folders", "folder 0/ folder 1/ folder 2/ folder 3/", strings.Join(folders, " "))

	versions := 0
	ofVersions := s3.NewListObjectVersionsPaginator(client, &s3.ListObjectVersionsInput{Bucket: bucket, MaxKeys: aws.Int32(7)})
	for ofVersions.HasMorePages() {
		page, err := ofVersions.NextPage(t.Context())
		must(t, err)
		versions += len(page.Versions)
	}
	equal(t, "versions", len(expected), versions)

	names := 0
	buckets := s3.NewListBucketsPaginator(client, &s3.ListBucketsInput{Prefix: bucket})
	for buckets.HasMorePages() {
		page, err := buckets.NextPage(t.Context())
		must(t, err)
		for _, entry := range page.Buckets {
			if *entry.Name == *bucket {
				names++
			}
		}
	}
	equal(t, "buckets of the name", 1, names)
}

func TestWaitersSeeWhatIsThereAndWhatIsGone(t *testing.T) {
	client := newClient(t)
	bucket := newBucket(t, client)
	put(t, client, bucket, "key", "x")
	head := &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("key")}
	must(t, s3.NewObjectExistsWaiter(client).Wait(t.Context(), head, time.Minute))
	_, err := client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: head.Key})
	must(t, err)
	must(t, s3.NewObjectNotExistsWaiter(client).Wait(t.Context(), head, time.Minute))
}

func TestSignedURLs(t *testing.T) {
	client := newClient(t)
	bucket := newBucket(t, client)
	key := aws.String("a b+c/é")
	// page: presign
	presigner := s3.NewPresignClient(client, s3.WithPresignExpires(time.Hour))
	upload, err := presigner.PresignPutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	download, err := presigner.PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key})
	// page end
	must(t, err)
	equal(t, "status of the upload", 200, plain(t, client, upload.Method, upload.URL, upload.SignedHeader, "by URL").StatusCode)
	answer := plain(t, client, download.Method, download.URL, download.SignedHeader, "")
	body, err := io.ReadAll(answer.Body)
	must(t, err)
	equal(t, "body", "by URL", string(body))

	forged := strings.Replace(download.URL, "/a%20b", "/other", 1)
	equal(t, "status of another key", 403, plain(t, client, "GET", forged, nil, "").StatusCode)
	equal(t, "status of another method", 403, plain(t, client, "DELETE", download.URL, nil, "").StatusCode)
}

// plain sends a request that knows nothing of S3.
func plain(t *testing.T, client *s3.Client, method, address string, header http.Header, body string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	must(t, err)
	for name, values := range header {
		if name != "Host" {
			request.Header[name] = values
		}
	}
	// The SDK's own HTTP client trusts the certificate authority that the environment names.
	answer, err := client.Options().HTTPClient.Do(request)
	must(t, err)
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

func TestBucketsAreFoundByTheirHost(t *testing.T) {
	client := newClient(t)
	bucket := newBucket(t, client)
	endpoint := *client.Options().BaseEndpoint
	scheme, address, _ := strings.Cut(endpoint, "://")
	_, port, err := net.SplitHostPort(strings.TrimSuffix(address, "/"))
	must(t, err)
	var hosts []string
	byHost := newClient(t, func(options *s3.Options) {
		options.BaseEndpoint = aws.String(scheme + "://s3.localhost:" + port)
		// No resolver need know the name: every connection goes to the service.
		options.HTTPClient = options.HTTPClient.(*awshttp.BuildableClient).WithTransportOptions(func(transport *http.Transport) {
			transport.DialContext = func(ctx context.Context, network, asked string) (net.Conn, error) {
				hosts = append(hosts, asked)
				return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
			}
		})
	})
	put(t, byHost, bucket, "a b/c", "by host")
	equal(t, "host", *bucket+".s3.localhost:"+port, hosts[0])
	equal(t, "body", "by host", get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("a b/c")}))
}
