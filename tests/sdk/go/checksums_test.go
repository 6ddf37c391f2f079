package sdk

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// The check value of each algorithm: its checksum of this body, as the catalogues of checksums give it.
const checked = "123456789"

var checkValues = map[types.ChecksumAlgorithm]string{
	types.ChecksumAlgorithmCrc32:     "y/Q5Jg==",
	types.ChecksumAlgorithmCrc32c:    "4waSgw==",
	types.ChecksumAlgorithmCrc64nvme: "rosUhgp5mIg=",
	types.ChecksumAlgorithmSha1:      "98O8HYCOBHMq32eZZczDTKeuNEE=",
	types.ChecksumAlgorithmSha256:    "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
}

// of gives what a head says of each algorithm.
func of(head *s3.HeadObjectOutput) map[types.ChecksumAlgorithm]*string {
	return map[types.ChecksumAlgorithm]*string{
		types.ChecksumAlgorithmCrc32:     head.ChecksumCRC32,
		types.ChecksumAlgorithmCrc32c:    head.ChecksumCRC32C,
		types.ChecksumAlgorithmCrc64nvme: head.ChecksumCRC64NVME,
		types.ChecksumAlgorithmSha1:      head.ChecksumSHA1,
		types.ChecksumAlgorithmSha256:    head.ChecksumSHA256,
	}
}

// unseekable hides that a body could be read twice, so that the SDK cannot know its checksum before it sends it.
type unseekable struct{ io.Reader }

func TestChecksums(t *testing.T) {
	supported := newClient(t, once)
	required := newClient(t, once, func(options *s3.Options) {
		options.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		options.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	})
	bucket := newBucket(t, supported)
	overTLS := strings.HasPrefix(*supported.Options().BaseEndpoint, "https:")

	for name, client := range map[string]*s3.Client{"when supported": supported, "when required": required} {
		for algorithm, expected := range checkValues {
			t.Run(name+" "+string(algorithm), func(t *testing.T) {
				_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: bucket, Key: aws.String("key"), Body: strings.NewReader(checked), ChecksumAlgorithm: algorithm,
				})
				must(t, err)
				stored(t, client, bucket, algorithm, expected)
			})
			t.Run(name+" "+string(algorithm)+" of a stream", func(t *testing.T) {
				_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
					Bucket: bucket, Key: aws.String("key"), Body: unseekable{strings.NewReader(checked)},
					ContentLength: aws.Int64(int64(len(checked))), ChecksumAlgorithm: algorithm,
				})
				if !overTLS {
					// Without TLS the SDK must know a body before it signs it.
					if err == nil || !strings.Contains(err.Error(), "unseekable stream") {
						t.Fatalf("the error is %v", err)
					}
					return
				}
				must(t, err)
				stored(t, client, bucket, algorithm, expected)
			})
		}
		t.Run(name+" a wrong one is refused", func(t *testing.T) {
			_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
				Bucket: bucket, Key: aws.String("wrong"), Body: strings.NewReader("other"),
				ChecksumCRC32: aws.String(checkValues[types.ChecksumAlgorithmCrc32]),
			})
			fails(t, 400, "BadDigest", err)
			_, err = client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: aws.String("wrong")})
			failsAs[*types.NotFound](t, err)
		})
	}

	t.Run("the default stores CRC32", func(t *testing.T) {
		put(t, supported, bucket, "key", checked)
		stored(t, supported, bucket, types.ChecksumAlgorithmCrc32, checkValues[types.ChecksumAlgorithmCrc32])
	})
	t.Run("when required the service computes its own", func(t *testing.T) {
		put(t, required, bucket, "key", checked)
		stored(t, required, bucket, types.ChecksumAlgorithmCrc64nvme, checkValues[types.ChecksumAlgorithmCrc64nvme])
	})
	t.Run("of parts", func(t *testing.T) { checksumsOfParts(t, supported, bucket) })
}

// stored holds the service to having this checksum, and no other.
func stored(t *testing.T, client *s3.Client, bucket *string, algorithm types.ChecksumAlgorithm, expected string) {
	t.Helper()
	// Where the client asks for checksums, as it does by default, it verifies the body by what the service has stored.
	equal(t, "body", checked, get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("key")}))
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{
		Bucket: bucket, Key: aws.String("key"), ChecksumMode: types.ChecksumModeEnabled,
	})
	must(t, err)
	for other, value := range of(head) {
		if other == algorithm {
			equal(t, string(other), expected, aws.ToString(value))
		} else {
			equal(t, string(other), "", aws.ToString(value))
		}
	}
}

// checksumsOfParts uploads in parts with each algorithm and each type that the algorithm has.
func checksumsOfParts(t *testing.T, client *s3.Client, bucket *string) {
	composite, full := types.ChecksumTypeComposite, types.ChecksumTypeFullObject
	kinds := map[types.ChecksumAlgorithm][]types.ChecksumType{
		types.ChecksumAlgorithmCrc32:     {composite, full},
		types.ChecksumAlgorithmCrc32c:    {composite, full},
		types.ChecksumAlgorithmCrc64nvme: {full},
		types.ChecksumAlgorithmSha1:      {composite},
		types.ChecksumAlgorithmSha256:    {composite},
	}
	bodies := [][]byte{someBytes(5 * mib), someBytes(100)}
	for algorithm, ofAlgorithm := range kinds {
		for _, kind := range ofAlgorithm {
			t.Run(string(algorithm)+" "+string(kind), func(t *testing.T) {
				key := aws.String("key")
				upload, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{
					Bucket: bucket, Key: key, ChecksumAlgorithm: algorithm, ChecksumType: kind,
				})
				must(t, err)
				var parts []types.CompletedPart
				for index, body := range bodies {
					number := aws.Int32(int32(index + 1))
					part, err := client.UploadPart(t.Context(), &s3.UploadPartInput{
						Bucket: bucket, Key: key, UploadId: upload.UploadId, PartNumber: number,
						Body: bytes.NewReader(body), ChecksumAlgorithm: algorithm,
					})
					must(t, err)
					parts = append(parts, types.CompletedPart{
						PartNumber: number, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32, ChecksumCRC32C: part.ChecksumCRC32C,
						ChecksumCRC64NVME: part.ChecksumCRC64NVME, ChecksumSHA1: part.ChecksumSHA1, ChecksumSHA256: part.ChecksumSHA256,
					})
				}
				_, err = client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
					Bucket: bucket, Key: key, UploadId: upload.UploadId, ChecksumType: kind,
					MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
				})
				must(t, err)
				head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{
					Bucket: bucket, Key: key, ChecksumMode: types.ChecksumModeEnabled,
				})
				must(t, err)
				equal(t, "type", kind, head.ChecksumType)
				value := aws.ToString(of(head)[algorithm])
				equal(t, "it tells of parts", kind == composite, strings.HasSuffix(value, "-2"))
				whole := append(bytes.Clone(bodies[0]), bodies[1]...)
				if kind == full {
					// The same bytes in one piece have the same checksum.
					_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
						Bucket: bucket, Key: aws.String("in one piece"), Body: bytes.NewReader(whole), ChecksumAlgorithm: algorithm,
					})
					must(t, err)
					one, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{
						Bucket: bucket, Key: aws.String("in one piece"), ChecksumMode: types.ChecksumModeEnabled,
					})
					must(t, err)
					equal(t, "checksum", aws.ToString(of(one)[algorithm]), value)
				}
				same(t, whole, []byte(get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key})))
			})
		}
	}
}
