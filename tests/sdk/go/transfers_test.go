package sdk

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// whenRequired is the mode in which checksums are only sent where the operation requires one.
func whenRequired(options *s3.Options) {
	options.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	options.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

func TestTransfersInParts(t *testing.T) {
	for mode, client := range map[string]*s3.Client{"when supported": newClient(t), "when required": newClient(t, whenRequired)} {
		bucket := newBucket(t, client)
		body := someBytes(mediumBytes(t))
		t.Run("transfermanager "+mode, func(t *testing.T) {
			film, back := filepath.Join(t.TempDir(), "film.mp4"), filepath.Join(t.TempDir(), "back.mp4")
			must(t, os.WriteFile(film, body, 0o600))
			up, err := os.Open(film)
			must(t, err)
			defer up.Close()
			down, err := os.Create(back)
			must(t, err)
			defer down.Close()
			// page: transfer
			transfers := transfermanager.New(client)
			_, err = transfers.UploadObject(t.Context(), &transfermanager.UploadObjectInput{
				Bucket: bucket, Key: aws.String("film.mp4"), Body: up,
			})
			if err != nil {
				t.Fatal(err)
			}
			_, err = transfers.DownloadObject(t.Context(), &transfermanager.DownloadObjectInput{
				Bucket: bucket, Key: aws.String("film.mp4"), WriterAt: down,
			})
			// page end
			must(t, err)
			came, err := os.ReadFile(back)
			must(t, err)
			same(t, body, came)
			inParts(t, client, bucket, "film.mp4", 8*mib, len(body))

			streamed, err := transfers.GetObject(t.Context(), &transfermanager.GetObjectInput{Bucket: bucket, Key: aws.String("film.mp4")})
			must(t, err)
			came, err = io.ReadAll(streamed.Body)
			must(t, err)
			same(t, body, came)
		})
		t.Run("transfermanager of a stream "+mode, func(t *testing.T) {
			_, err := transfermanager.New(client).UploadObject(t.Context(), &transfermanager.UploadObjectInput{
				Bucket: bucket, Key: aws.String("stream"), Body: unseekable{bytes.NewReader(body)},
			})
			must(t, err)
			same(t, body, []byte(get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("stream")})))
		})
		t.Run("manager "+mode, func(t *testing.T) {
			//lint:ignore SA1019 programs will use it for years to come
			_, err := manager.NewUploader(client).Upload(t.Context(), &s3.PutObjectInput{
				Bucket: bucket, Key: aws.String("of manager"), Body: bytes.NewReader(body),
			})
			must(t, err)
			back := manager.NewWriteAtBuffer(nil)
			//lint:ignore SA1019 as above
			_, err = manager.NewDownloader(client).Download(t.Context(), back, &s3.GetObjectInput{Bucket: bucket, Key: aws.String("of manager")})
			must(t, err)
			same(t, body, back.Bytes())
			inParts(t, client, bucket, "of manager", 5*mib, len(body))
		})
	}
}

// inParts holds an object to being of as many parts as its length asks for.
func inParts(t *testing.T, client *s3.Client, bucket *string, key string, partBytes, length int) {
	t.Helper()
	head, err := client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: bucket, Key: &key, PartNumber: aws.Int32(1)})
	must(t, err)
	equal(t, "parts", int32((length+partBytes-1)/partBytes), aws.ToInt32(head.PartsCount))
	equal(t, "bytes of the first part", int64(partBytes), aws.ToInt64(head.ContentLength))
}

func TestUploadsByHand(t *testing.T) {
	client := newClient(t, once)
	bucket := newBucket(t, client)
	key := aws.String("by hand")
	begin := func() *string {
		upload, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: bucket, Key: key})
		must(t, err)
		return upload.UploadId
	}
	send := func(upload *string, number int32, body []byte) types.CompletedPart {
		part, err := client.UploadPart(t.Context(), &s3.UploadPartInput{
			Bucket: bucket, Key: key, UploadId: upload, PartNumber: &number, Body: bytes.NewReader(body),
		})
		must(t, err)
		return types.CompletedPart{PartNumber: &number, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32}
	}
	complete := func(upload *string, parts ...types.CompletedPart) error {
		_, err := client.CompleteMultipartUpload(t.Context(), &s3.CompleteMultipartUploadInput{
			Bucket: bucket, Key: key, UploadId: upload, MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		return err
	}

	upload := begin()
	bodies := [][]byte{someBytes(5 * mib), someBytes(5*mib + 1), someBytes(7)}
	var parts []types.CompletedPart
	for index, body := range bodies {
		parts = append(parts, send(upload, int32(index+1), body))
	}
	var listed []int32
	pages := s3.NewListPartsPaginator(client, &s3.ListPartsInput{Bucket: bucket, Key: key, UploadId: upload, MaxParts: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, part := range page.Parts {
			listed = append(listed, *part.PartNumber)
			equal(t, "length of a part", int64(len(bodies[*part.PartNumber-1])), *part.Size)
		}
	}
	equal(t, "the parts are listed", true, slices.Equal(listed, []int32{1, 2, 3}))
	fails(t, 400, "InvalidPartOrder", complete(upload, parts[1], parts[0]))
	must(t, complete(upload, parts...))
	same(t, bytes.Join(bodies, nil), []byte(get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key})))

	source := aws.String(*bucket + "/by%20hand")
	copying := begin()
	part, err := client.UploadPartCopy(t.Context(), &s3.UploadPartCopyInput{
		Bucket: bucket, Key: key, UploadId: copying, PartNumber: aws.Int32(1), CopySource: source, CopySourceRange: aws.String("bytes=1-9"),
	})
	must(t, err)
	copied := types.CompletedPart{PartNumber: aws.Int32(1), ETag: part.CopyPartResult.ETag, ChecksumCRC32: part.CopyPartResult.ChecksumCRC32}
	must(t, complete(copying, copied))
	same(t, bodies[0][1:10], []byte(get(t, client, &s3.GetObjectInput{Bucket: bucket, Key: key})))

	small := begin()
	fails(t, 400, "EntityTooSmall", complete(small, send(small, 1, []byte("x")), send(small, 2, []byte("y"))))
	uploads, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: bucket})
	must(t, err)
	equal(t, "uploads that run", 1, len(uploads.Uploads))
	equal(t, "its id", *small, *uploads.Uploads[0].UploadId)
	_, err = client.AbortMultipartUpload(t.Context(), &s3.AbortMultipartUploadInput{Bucket: bucket, Key: key, UploadId: small})
	must(t, err)
	fails(t, 404, "NoSuchUpload", complete(small, copied))
}

// TestTree stores a tree of files and brings it back. The tree is the caller's, and so is the comparison of what comes back.
func TestTree(t *testing.T) {
	client := newClient(t)
	bucket := newBucket(t, client)
	from, to := os.Getenv("CAIRN_TEST_TREE"), os.Getenv("CAIRN_TEST_BACK")
	transfers := transfermanager.New(client)
	stored, err := transfers.UploadDirectory(t.Context(), &transfermanager.UploadDirectoryInput{
		Bucket: bucket, Source: &from, Recursive: aws.Bool(true),
	})
	must(t, err)
	var names []string
	must(t, filepath.WalkDir(from, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			names = append(names, strings.TrimPrefix(path, from+"/"))
		}
		return err
	}))
	slices.Sort(names)
	equal(t, "files stored", int64(len(names)), stored.ObjectsUploaded)

	var listed []string
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, object := range page.Contents {
			listed = append(listed, *object.Key)
		}
	}
	equal(t, "keys", strings.Join(names, "\n"), strings.Join(listed, "\n"))

	// DownloadDirectory refuses every name with two dots in a row, so the files come one by one.
	keys := make(chan string)
	var workers sync.WaitGroup
	for range 16 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for key := range keys {
				if err := bring(t, transfers, bucket, key, filepath.Join(to, key)); err != nil {
					t.Errorf("%s: %v", key, err)
				}
			}
		}()
	}
	for _, key := range listed {
		keys <- key
	}
	close(keys)
	workers.Wait()
}

func TestDirectoriesComeBackUnlessANameHasTwoDots(t *testing.T) {
	client := newClient(t)
	bucket := newBucket(t, client)
	to := t.TempDir()
	put(t, client, bucket, "folder/one", "1")
	put(t, client, bucket, "folder/in/two", "2")
	down := &transfermanager.DownloadDirectoryInput{Bucket: bucket, Destination: &to}
	_, err := transfermanager.New(client).DownloadDirectory(t.Context(), down)
	must(t, err)
	for name, expected := range map[string]string{"folder/one": "1", "folder/in/two": "2"} {
		came, err := os.ReadFile(filepath.Join(to, name))
		must(t, err)
		equal(t, name, expected, string(came))
	}
	put(t, client, bucket, "a..b", "3")
	_, err = transfermanager.New(client).DownloadDirectory(t.Context(), down)
	if err == nil || !strings.Contains(err.Error(), "is outside of destination") {
		t.Fatalf("the error is %v", err)
	}
}

func bring(t *testing.T, transfers *transfermanager.Client, bucket *string, key, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = transfers.DownloadObject(t.Context(), &transfermanager.DownloadObjectInput{Bucket: bucket, Key: &key, WriterAt: file})
	return err
}
