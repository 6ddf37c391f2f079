package cairn;

import static cairn.Service.clientOnce;
import static cairn.Service.fails;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import cairn.Service.Bucket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.async.AsyncRequestBody;
import software.amazon.awssdk.core.async.AsyncResponseTransformer;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.BucketVersioningStatus;
import software.amazon.awssdk.services.s3.model.CommonPrefix;
import software.amazon.awssdk.services.s3.model.ListObjectsV2Response;
import software.amazon.awssdk.services.s3.model.NoSuchBucketException;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.NoSuchUploadException;
import software.amazon.awssdk.services.s3.model.ObjectVersion;
import software.amazon.awssdk.services.s3.model.S3Exception;
import software.amazon.awssdk.services.s3.presigner.S3Presigner;

/** Objects: stored, read, described, copied, deleted, listed, under conditions, by signed URLs, in versions; and the SDK's types of errors. */
class ObjectsTest {
    @ParameterizedTest
    @ValueSource(strings = {"plain", "a b+c%25/é 高山/🏔", "//double//", "back\\slash", "q?a=b&c#d", "dots/../up", "'quote\"<x>"})
    void anObjectIsStoredReadDescribedCopiedAndDeleted(String key) {
        try (S3Client client = S3Client.create(); Bucket made = new Bucket(client)) {
            String bucket = made.name;
            String text = "bytes of " + key;
            String back;
            // page: put and get
            try (S3Client s3 = S3Client.create()) {
                s3.putObject(
                        put -> put.bucket(bucket).key(key).contentType("text/plain").metadata(Map.of("of", "test")),
                        RequestBody.fromString(text));
                back = s3.getObjectAsBytes(get -> get.bucket(bucket).key(key)).asUtf8String();
            }
            // page end
            assertEquals(text, back);
            assertEquals("of", made.get(r -> r.key(key).range("bytes=6-7")));
            var head = client.headObject(r -> r.bucket(bucket).key(key));
            assertEquals(text.getBytes(StandardCharsets.UTF_8).length, head.contentLength());
            assertEquals("text/plain", head.contentType());
            assertEquals(Map.of("of", "test"), head.metadata());

            client.copyObject(r -> r.sourceBucket(bucket).sourceKey(key).destinationBucket(bucket).destinationKey("copy of " + key));
            var copied = client.headObject(r -> r.bucket(bucket).key("copy of " + key));
            assertEquals(head.eTag(), copied.eTag());
            assertEquals(Map.of("of", "test"), copied.metadata());

            client.deleteObject(r -> r.bucket(bucket).key(key));
            fails(NoSuchKeyException.class, 404, "NoSuchKey", () -> made.get(key));
        }
    }

    @Test
    void errorsHaveTheirTypes() {
        try (S3Client client = clientOnce(); Bucket bucket = new Bucket(client)) {
            fails(NoSuchKeyException.class, 404, "NoSuchKey", () -> bucket.get("nothing"));
            assertThrows(NoSuchKeyException.class, () -> client.headObject(r -> r.bucket(bucket.name).key("nothing")));
            assertThrows(NoSuchBucketException.class, () -> client.headBucket(r -> r.bucket("no-such-bucket")));
            fails(NoSuchBucketException.class, 404, "NoSuchBucket", () -> client.listObjectsV2(r -> r.bucket("no-such-bucket")));
            fails(NoSuchUploadException.class, 404, "NoSuchUpload",
                    () -> client.abortMultipartUpload(r -> r.bucket(bucket.name).key("nothing").uploadId("none")));
            bucket.put("something", "x");
            fails(416, "InvalidRange", () -> bucket.get(r -> r.key("something").range("bytes=5-")));
            fails(409, "BucketNotEmpty", () -> client.deleteBucket(r -> r.bucket(bucket.name)));
            var credentials = EnvironmentVariableCredentialsProvider.create().resolveCredentials();
            var forged = AwsBasicCredentials.create(credentials.accessKeyId(), credentials.secretAccessKey() + "x");
            try (S3Client forger = clientOnce(b -> b.credentialsProvider(StaticCredentialsProvider.create(forged)))) {
                fails(403, "SignatureDoesNotMatch", () -> forger.getObjectAsBytes(r -> r.bucket(bucket.name).key("something")));
            }
        }
    }

    @Test
    void writesUnderConditions() {
        try (S3Client client = clientOnce(); Bucket bucket = new Bucket(client)) {
            String first = bucket.put("state", "first", r -> r.ifNoneMatch("*")).eTag();
            fails(412, "PreconditionFailed", () -> bucket.put("state", "other", r -> r.ifNoneMatch("*")));
            String second = bucket.put("state", "second", r -> r.ifMatch(first)).eTag();
            fails(412, "PreconditionFailed", () -> bucket.put("state", "third", r -> r.ifMatch(first)));
            assertEquals("second", bucket.get("state"));
            S3Exception same = assertThrows(S3Exception.class, () -> bucket.get(r -> r.key("state").ifNoneMatch(second)));
            assertEquals(304, same.statusCode());
            fails(412, "PreconditionFailed", () -> bucket.get(r -> r.key("state").ifMatch(first)));
        }
    }

    @Test
    void paginatorsGiveEverythingOnce() {
        try (S3Client client = S3Client.create(); Bucket made = new Bucket(client)) {
            String bucket = made.name;
            List<String> expected = new ArrayList<>();
            for (int number = 0; number < 25; number++) {
                String key = String.format("folder %d/key+%02d", number % 4, number);
                made.put(key, key);
                expected.add(key);
            }
            expected.sort(null);
            List<String> found = new ArrayList<>();
            // page: list
            client.listObjectsV2Paginator(list -> list.bucket(bucket).maxKeys(10))
                    .contents()
                    .forEach(object -> found.add(object.key()));
            // page end
            assertEquals(expected, found);

            List<String> folders = client.listObjectsV2Paginator(r -> r.bucket(bucket).delimiter("/").maxKeys(3)).commonPrefixes()
                    .stream().map(CommonPrefix::prefix).toList();
            assertEquals(List.of("folder 0/", "folder 1/", "folder 2/", "folder 3/"), folders);
            assertEquals(3, client.listObjectsV2Paginator(r -> r.bucket(bucket).maxKeys(10)).stream().map(ListObjectsV2Response::keyCount)
                    .filter(count -> count > 0).count());
            assertEquals(expected, client.listObjectVersionsPaginator(r -> r.bucket(bucket).maxKeys(7)).versions().stream()
                    .map(ObjectVersion::key).toList());
            assertEquals(1, client.listBucketsPaginator(r -> r.prefix(bucket)).buckets().stream()
                    .filter(entry -> entry.name().equals(bucket)).count());
        }
    }

    @Test
    void waitersSeeWhatIsThereAndWhatIsGone() {
        try (S3Client client = S3Client.create(); Bucket bucket = new Bucket(client); var waiter = client.waiter()) {
            assertTrue(waiter.waitUntilBucketExists(r -> r.bucket(bucket.name)).matched().response().isPresent());
            bucket.put("key", "x");
            assertTrue(waiter.waitUntilObjectExists(r -> r.bucket(bucket.name).key("key")).matched().response().isPresent());
            client.deleteObject(r -> r.bucket(bucket.name).key("key"));
            assertTrue(waiter.waitUntilObjectNotExists(r -> r.bucket(bucket.name).key("key")).matched().exception().isPresent());
        }
    }

    @Test
    void signedUrls() throws Exception {
        try (S3Client client = S3Client.create(); Bucket made = new Bucket(client)) {
            String bucket = made.name;
            String key = "a b+c/é";
            URI upload;
            URI download;
            // page: presign
            try (S3Presigner presigner = S3Presigner.create()) {
                upload = presigner.presignPutObject(sign -> sign.signatureDuration(Duration.ofHours(1))
                                .putObjectRequest(put -> put.bucket(bucket).key(key)))
                        .url().toURI();
                download = presigner.presignGetObject(sign -> sign.signatureDuration(Duration.ofHours(1))
                                .getObjectRequest(get -> get.bucket(bucket).key(key)))
                        .url().toURI();
            }
            // page end
            HttpClient plain = HttpClient.newHttpClient();
            HttpRequest send = HttpRequest.newBuilder(upload).PUT(BodyPublishers.ofString("by URL")).build();
            assertEquals(200, plain.send(send, BodyHandlers.ofString()).statusCode());
            HttpResponse<String> answer = plain.send(HttpRequest.newBuilder(download).build(), BodyHandlers.ofString());
            assertEquals(200, answer.statusCode());
            assertEquals("by URL", answer.body());
            URI forged = URI.create(download.toString().replace("/a%20b", "/other"));
            assertEquals(403, plain.send(HttpRequest.newBuilder(forged).build(), BodyHandlers.ofString()).statusCode());
            assertEquals(403, plain.send(HttpRequest.newBuilder(download).DELETE().build(), BodyHandlers.ofString()).statusCode());
        }
    }

    @Test
    void theAsynchronousClientDoesTheSame() {
        try (S3Client client = S3Client.create(); Bucket bucket = new Bucket(client); S3AsyncClient asynchronous = Service.asynchronous(builder -> {})) {
            List<String> bodies = new ArrayList<>();
            var stored = new ArrayList<CompletableFuture<?>>();
            for (int number = 0; number < 40; number++) {
                String body = "body " + number;
                bodies.add(body);
                stored.add(asynchronous.putObject(r -> r.bucket(bucket.name).key(body),
                        AsyncRequestBody.fromString(body)));
            }
            stored.forEach(CompletableFuture::join);
            bodies.sort(null);
            List<String> listed = new ArrayList<>();
            asynchronous.listObjectsV2Paginator(r -> r.bucket(bucket.name).maxKeys(7)).contents().subscribe(o -> listed.add(o.key())).join();
            assertEquals(bodies, listed);
            var found = asynchronous.getObject(r -> r.bucket(bucket.name).key("body 7"),
                    AsyncResponseTransformer.toBytes()).join();
            assertEquals("body 7", found.asUtf8String());
        }
    }

    @Test
    void versions() {
        try (S3Client client = clientOnce(); Bucket made = new Bucket(client)) {
            String bucket = made.name;
            assertEquals(null, client.getBucketVersioning(r -> r.bucket(bucket)).status());
            // page: versions
            client.putBucketVersioning(put -> put.bucket(bucket)
                    .versioningConfiguration(versioning -> versioning.status(BucketVersioningStatus.ENABLED)));
            // page end
            assertEquals(BucketVersioningStatus.ENABLED, client.getBucketVersioning(r -> r.bucket(bucket)).status());
            String first = made.put("note", "first").versionId();
            String second = made.put("note", "second").versionId();
            var deleted = client.deleteObject(r -> r.bucket(bucket).key("note"));
            assertTrue(deleted.deleteMarker());
            fails(NoSuchKeyException.class, 404, "NoSuchKey", () -> made.get("note"));
            fails(405, "MethodNotAllowed", () -> made.get(r -> r.key("note").versionId(deleted.versionId())));
            assertEquals("first", made.get(r -> r.key("note").versionId(first)));
            assertEquals("second", made.get(r -> r.key("note").versionId(second)));
            var listed = client.listObjectVersions(r -> r.bucket(bucket));
            assertEquals(List.of(second, first), listed.versions().stream().map(ObjectVersion::versionId).toList());
            assertEquals(1, listed.deleteMarkers().size());
            assertTrue(listed.deleteMarkers().get(0).isLatest());

            client.deleteObject(r -> r.bucket(bucket).key("note").versionId(deleted.versionId()));
            assertEquals("second", made.get("note"));
            client.deleteObject(r -> r.bucket(bucket).key("note").versionId(second));
            assertEquals("first", made.get("note"));
            fails(404, "NoSuchVersion", () -> made.get(r -> r.key("note").versionId(second)));

            client.putBucketVersioning(r -> r.bucket(bucket).versioningConfiguration(c -> c.status(BucketVersioningStatus.SUSPENDED)));
            // Of the two that are stored while it is suspended, the second replaces the first.
            made.put("note", "third");
            made.put("note", "fourth");
            var after = client.listObjectVersions(r -> r.bucket(bucket)).versions();
            assertEquals(List.of("null", first), after.stream().map(ObjectVersion::versionId).toList());
            assertEquals("fourth", made.get(r -> r.key("note").versionId("null")));
        }
    }
}
