package cairn;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.junit.jupiter.api.function.Executable;
import software.amazon.awssdk.awscore.retry.AwsRetryStrategy;
import software.amazon.awssdk.core.checksums.RequestChecksumCalculation;
import software.amazon.awssdk.core.checksums.ResponseChecksumValidation;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.retries.api.RetryStrategy;
import software.amazon.awssdk.services.s3.S3AsyncClient;
import software.amazon.awssdk.services.s3.S3AsyncClientBuilder;
import software.amazon.awssdk.services.s3.S3BaseClientBuilder;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3ClientBuilder;
import software.amazon.awssdk.services.s3.model.GetObjectRequest;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.PutObjectRequest;
import software.amazon.awssdk.services.s3.model.PutObjectResponse;
import software.amazon.awssdk.services.s3.model.S3Exception;

/**
 * What every test here shares. The SDK reads its own variables (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION),
 * and Java the certificate authority (javax.net.ssl.trustStore): clients are made as programs make them, with the SDK's defaults.
 */
final class Service {
    static final int MIB = 1024 * 1024;
    static final int MEDIUM_BYTES = Integer.parseInt(System.getenv("CAIRN_TEST_MEDIUM_BYTES"));

    private static final AtomicInteger BUCKETS = new AtomicInteger();

    private Service() {}

    /** A mode of checksums, for requests and responses alike. */
    static void checksums(S3BaseClientBuilder<?, ?> builder, RequestChecksumCalculation mode) {
        builder.requestChecksumCalculation(mode);
        builder.responseChecksumValidation(ResponseChecksumValidation.fromValue(mode.toString()));
    }

    /** A client that does not try again, because a test that expects an error must not wait; with what a test changes besides. */
    static S3Client clientOnce(Consumer<S3ClientBuilder> change) {
        S3ClientBuilder builder = S3Client.builder().overrideConfiguration(c -> c.retryStrategy(AwsRetryStrategy.doNotRetry()));
        change.accept(builder);
        return builder.build();
    }

    static S3Client clientOnce() {
        return clientOnce(builder -> {});
    }

    /**
     * An asynchronous client. Its connection pool sometimes hands out a connection whose last request has not quite ended, which a service that
     * answers at once makes likelier; the SDK takes the error that follows for the program's own and does not try again by itself.
     */
    static S3AsyncClient asynchronous(Consumer<S3AsyncClientBuilder> change) {
        // page: asynchronous client
        RetryStrategy retries = AwsRetryStrategy.standardRetryStrategy().toBuilder()
                .retryOnException(error -> String.valueOf(error).contains("Duplicate handler name"))
                .build();
        S3AsyncClientBuilder builder = S3AsyncClient.builder()
                .multipartEnabled(true)
                .overrideConfiguration(settings -> settings.retryStrategy(retries));
        // page end
        change.accept(builder);
        return builder.build();
    }

    /** An empty bucket that is gone when it is closed. */
    static final class Bucket implements AutoCloseable {
        final String name = "java-" + ProcessHandle.current().pid() + "-" + BUCKETS.incrementAndGet();
        private final S3Client client;

        Bucket(S3Client client) {
            this.client = client;
            client.createBucket(r -> r.bucket(name));
        }

        PutObjectResponse put(String key, String body, Consumer<PutObjectRequest.Builder> change) {
            PutObjectRequest.Builder request = PutObjectRequest.builder().bucket(name).key(key);
            change.accept(request);
            return client.putObject(request.build(), RequestBody.fromString(body));
        }

        PutObjectResponse put(String key, String body) {
            return put(key, body, request -> {});
        }

        String get(Consumer<GetObjectRequest.Builder> what) {
            GetObjectRequest.Builder request = GetObjectRequest.builder().bucket(name);
            what.accept(request);
            return client.getObjectAsBytes(request.build()).asUtf8String();
        }

        String get(String key) {
            return get(r -> r.key(key));
        }

        @Override
        public void close() {
            client.listObjectVersionsPaginator(r -> r.bucket(name)).stream().forEach(page -> {
                List<ObjectIdentifier> doomed = new ArrayList<>();
                page.versions().forEach(v -> doomed.add(ObjectIdentifier.builder().key(v.key()).versionId(v.versionId()).build()));
                page.deleteMarkers().forEach(m -> doomed.add(ObjectIdentifier.builder().key(m.key()).versionId(m.versionId()).build()));
                if (!doomed.isEmpty()) {
                    var done = client.deleteObjects(r -> r.bucket(name).delete(d -> d.objects(doomed)));
                    assertEquals(List.of(), done.errors());
                    assertEquals(doomed.size(), done.deleted().size());
                }
            });
            client.deleteBucket(r -> r.bucket(name));
        }
    }

    /** Bytes that do not compress or repeat, the same in every run. */
    static byte[] someBytes(int length) {
        byte[] body = new byte[length];
        new Random(length).nextBytes(body);
        return body;
    }

    static void same(byte[] expected, byte[] actual) {
        assertEquals(expected.length, actual.length, "length");
        assertArrayEquals(expected, actual);
    }

    /** Holds a call to failing with this status and this S3 error code, as an error of this type. */
    static <T extends S3Exception> T fails(Class<T> type, int status, String code, Executable call) {
        T error = assertThrows(type, call);
        assertEquals(status, error.statusCode());
        assertEquals(code, error.awsErrorDetails().errorCode());
        return error;
    }

    static void fails(int status, String code, Executable call) {
        fails(S3Exception.class, status, code, call);
    }
}
